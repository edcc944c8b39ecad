"""The tables of the contract, column by column, as DuckDB types: `orders`, `ledger`, and the log's.

What a view may name is exactly what stands here of the first two; money is DECIMAL, times are
naive UTC.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


ORDERS_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "order_id": "VARCHAR",
        "customer_id": "VARCHAR",
        "currency": "VARCHAR",
        "country": "VARCHAR",
        "channel": "VARCHAR",
        "status": "VARCHAR",
        "placed_at": "TIMESTAMP",
        "paid_at": "TIMESTAMP",
        "shipped_at": "TIMESTAMP",
        "delivered_at": "TIMESTAMP",
        "cancelled_at": "TIMESTAMP",
        "gross": "DECIMAL(38,4)",
        "paid": "DECIMAL(38,4)",
        "refunded": "DECIMAL(38,4)",
        "net": "DECIMAL(38,4)",
        "units": "BIGINT",
        "event_count": "BIGINT",
        "first_offset": "BIGINT",
        "last_offset": "BIGINT",
        "partition": "INTEGER",
    }
)
"""One row an order. `partition` is a word of SQL: write it in double quotes."""

LEDGER_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "order_id": "VARCHAR",
        "customer_id": "VARCHAR",
        "product_id": "VARCHAR",
        "country": "VARCHAR",
        "channel": "VARCHAR",
        "kind": "VARCHAR",
        "booked_at": "TIMESTAMP",
        "currency": "VARCHAR",
        "quantity": "BIGINT",
        "amount": "DECIMAL(18,4)",
    }
)
"""One row a movement of money or goods; `quantity` and `amount` are signed."""

LEDGER_KINDS: Final[tuple[str, ...]] = (
    "placed",
    "sale",
    "shipping",
    "discount",
    "cancellation",
    "return",
    "adjustment",
)

TABLES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {"orders": ORDERS_COLUMNS, "ledger": LEDGER_COLUMNS}
)


EVENT_COLUMNS = {
    "partition": "INTEGER",
    "offset": "BIGINT",
    "order_hash": "INTEGER",
    "source": "VARCHAR",
    "id": "VARCHAR",
    "type": "VARCHAR",
    "version": "SMALLINT",
    "time": "TIMESTAMP",
    "order_id": "VARCHAR",
    "sequence": "BIGINT",
    "customer_id": "VARCHAR",
    "currency": "VARCHAR",
    "country": "VARCHAR",
    "channel": "VARCHAR",
    "amount": "DECIMAL(18,4)",
    "shipping": "DECIMAL(18,4)",
    "discount": "DECIMAL(18,4)",
    "goods": "DECIMAL(18,4)",
    "units": "BIGINT",
    "lines": "STRUCT(product_id VARCHAR, quantity BIGINT, amount DECIMAL(18,4))[]",
    "digest": "BIGINT",
    "appended_at": "TIMESTAMP",
    "raw": "VARCHAR",
}
"""The log's table `sys.events`: place, envelope, typed data, original JSON line. Times in UTC."""


TYPED_COLUMNS = tuple(name for name in EVENT_COLUMNS if name not in {"raw", "appended_at"})
"""What the fold needs of an event: all but its original text and its arrival."""
