"""Out of everything: a customer, on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.pipelines.operations.erasure import Erased
    from headrace.pipelines.verbs.place import Place


def erase(
    home: Place,
    customer: str | None,
    *,
    reason: str,
    order: str | None = None,
    dry_run: bool = False,
    **given: Any,
) -> Erased:
    """Make a customer's personal data unreadable in all of a home; every sum stays as it is.

    Args:
        home: where.
        customer: the customer's id, exactly; None with `order`.
        reason: why; it is kept, so it must not name the customer.
        order: instead of a customer: the order of a guest, who has no id.
        dry_run: only count what would change.
        given: settings, such as `lock_wait`.

    Returns:
        How many `events`, `orders`, `entries` of the quarantine and `files` were rewritten, and the
        `pseudonym`. Nobody of that name: all of them are 0, and nothing was recorded.

    Raises:
        UsageError: the reason names the customer.
        LogError, ViewError, HomeError: it cannot be done without changing a number.
        DamageError: a file of the lake is damaged; nothing was changed.
        LockError: a writer or a batch did not finish in time; nothing was changed.
        StorageError: it is done, but a reader keeps the catalog's journal; `maintain` finishes.
    """
    from headrace.pipelines.errors import UsageError
    from headrace.pipelines.operations.erasure import erase as erased
    from headrace.pipelines.verbs.place import opened

    if (customer is None) == (order is None):
        raise UsageError("name either a customer, or the order of a guest")
    with opened(home, **given) as lake:
        return erased(lake, customer, reason, order=order, dry_run=dry_run)
