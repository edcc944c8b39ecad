"""A planted bug: a speed layer that was overtaken commits what it had prepared."""

from headrace.pipelines import position
from headrace.pipelines.generations import registry
from headrace.pipelines.speed import layer as speed


def unchecked(cut, commits):
    return [cut, *(end for _, end in commits)][-1]


def still(self, line, target):
    return registry.read(self._lake, line.number)


registry.check_chain = position.check_chain = unchecked
speed.Speed._still = still
