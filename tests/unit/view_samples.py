"""Views compiled for tests: `by_currency("sum(amount) AS x")`."""

from headrace.pipelines.views.load import View, parse_view


def view(sql: str) -> View:
    """A view from its text."""
    return parse_view("mine", sql, where="views/mine.sql")


def by_currency(item: str) -> View:
    """A view of one item over the ledger."""
    return view(f"SELECT currency, {item} FROM ledger GROUP BY currency")
