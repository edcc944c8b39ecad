"""A planted bug: a speed layer that was overtaken commits what it had prepared."""

from pipelines import generations, position, speed


def unchecked(cut, commits):
    return [cut, *(end for _, end in commits)][-1]


def still(self, line, target):
    return generations.read(self._lake, line.number)


generations.check_chain = position.check_chain = unchecked
speed.Speed._still = still
