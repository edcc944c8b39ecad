"""A planted bug: each delivery of an event counts."""

from headrace.pipelines.fold import fold

_text = fold.text()
fold.text = lambda: _text.replace("HAVING count(*) > 1", "HAVING false", 1)
