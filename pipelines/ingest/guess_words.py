"""What columns are called in the exports of shops: English, German, French, Spanish, Italian.

Names are compared without case, accents, signs, and what stands in brackets.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

_SURE_WORDS: Final[Mapping[str, str]] = {
    "order_id": "order orderid ordernumber orderno ordernr ordername bestellnummer bestellnr "
    "bestellid bestellung auftragsnummer auftragsnr auftrag commande ncommande nocommande "
    "idcommande numcommande numerocommande numerodecommande ndecommande nodecommande "
    "refcommande referencecommande pedido "
    "npedido nopedido ndepedido nodepedido idpedido numpedido numeropedido "
    "numerodepedido ordine nordine idordine "
    "numordine numeroordine numerodordine salesrecordnumber",
    "time": "ordertime orderdate orderdatetime orderedat createdat created purchasedate saledate "
    "datetime timestamp bestelldatum bestellzeitpunkt auftragsdatum zeitpunkt zeitstempel "
    "datecommande datedecommande datedelacommande horodatage fechapedido fechadepedido "
    "fechadelpedido fechayhora dataordine datadordine datadellordine dataeora",
    "time_of_day": "time uhrzeit zeit heure heuredecommande hora horadepedido ora orario "
    "oraordine bestellzeit saletime",
    "product_id": "sku productid productcode productsku itemid itemno itemnumber itemsku asin "
    "articleno articlenumber articleid stockcode lineitemsku variantsku artikelnummer artikelnr "
    "artnr produktnummer produktnr produktid referenceproduit refproduit codeproduit refarticle "
    "referencearticle codearticle codigoproducto codigodeproducto idproducto referencia "
    "codiceprodotto codicearticolo idprodotto",
    "quantity": "quantity qty units pieces lineitemquantity quantitypurchased quantityordered "
    "menge anzahl stuck stueck stk quantite qte cantidad cant unidades uds quantita qta pezzi pz",
    "unit_price": "unitprice priceperunit itemprice lineitemprice singleprice priceeach "
    "einzelpreis stuckpreis stueckpreis preisprostuck prixunitaire prixunit pu preciounitario "
    "preciounidad preciounit prezzounitario prezzounit",
    "customer_id": "customerid customernumber customerno customernr clientid buyerid userid "
    "buyerusername kundennummer kundennr kundenid kdnr nclient numeroclient idclient codeclient "
    "idcliente numerocliente codigocliente codicecliente",
    "currency": "currency currencycode wahrung waehrung devise monnaie moneda divisa valuta",
    "country": "country countrycode land pays pais paese nazione",
    "channel": "channel saleschannel kanal verkaufskanal canal canale canalvente",
    "category": "category productcategory productgroup kategorie warengruppe categorie categoria",
    "shipping": "shipping shippingcost shippingcosts shippingfee shippingprice shippingamount "
    "postage deliverycost deliveryfee freight versand versandkosten porto fraisdeport "
    "fraisdelivraison gastosdeenvio envio costedeenvio spedizione spesedispedizione "
    "costispedizione",
    "discount": "discount discountamount orderdiscount itempromotiondiscount rabatt nachlass "
    "remise reduction rabais descuento sconto",
    "tax": "tax taxes taxamount salestax itemtax vat vatamount mwst ust steuer mehrwertsteuer "
    "umsatzsteuer mwstbetrag steuerbetrag tva montanttva iva importeiva impuestos impuesto imposta",
}
_PERHAPS_WORDS: Final[Mapping[str, str]] = {
    "order_id": "id number nummer numero reference ref invoice invoiceno invoicenumber invoiceid "
    "rechnungsnummer rechnungsnr belegnummer facture numerofacture factura numerofactura fattura "
    "numerofattura transactionid",
    "time": "date datum fecha data invoicedate rechnungsdatum belegdatum datefacture fechafactura "
    "datafattura day tag jour dia giorno",
    "product_id": "product produkt artikel article item produit producto articulo prodotto "
    "productname itemname lineitemname title titel description bezeichnung artikelbezeichnung "
    "designation descripcion descrizione",
    "unit_price": "price preis prix precio prezzo saleprice verkaufspreis",
    "customer_id": "customer kunde client cliente buyer email customeremail kaufer acheteur "
    "comprador acquirente",
    "country": "shippingcountry shipcountry deliverycountry billingcountry lieferland",
}
_TOTAL_WORDS: Final = (
    "total linetotal amount sum subtotal betrag summe gesamt gesamtpreis zeilensumme montant "
    "soustotal importe suma totale importo subtotale"
)
_SURE: Final = {field: frozenset(words.split()) for field, words in _SURE_WORDS.items()}
_PERHAPS: Final = {field: frozenset(words.split()) for field, words in _PERHAPS_WORDS.items()}
_TOTALS: Final = frozenset(_TOTAL_WORDS.split())
_BRACKETS: Final = re.compile(r"\([^)]*\)|\[[^\]]*\]")
_CODES: Final = re.compile(
    r"\b(?:in )?(EUR|USD|GBP|CHF|CAD|AUD|SEK|NOK|DKK|PLN|CZK|HUF|JPY)\b|[€£$]"
)
_OF_TAX: Final = re.compile(
    r"\b(?:ht|ttc|netto|brutto|net|gross|"
    r"(?:inkl|zzgl|incl|excl|exkl)\.?(?: (?:mwst|vat|tax|iva))?)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=1 << 16)
def plain(name: str) -> str:
    """A column's name, so that two ways to write it are the same."""
    bare = _OF_TAX.sub(" ", _CODES.sub(" ", _BRACKETS.sub(" ", name.strip())))
    letters = unicodedata.normalize("NFKD", bare.casefold())
    return "".join(c for c in letters if c.isalnum() and not unicodedata.combining(c))


def currency_in(name: str) -> str | None:
    """The code of a currency in a column's name: `Price (EUR)`."""
    found = _CODES.search(name)
    return found[1] or {"€": "EUR"}.get(found[0]) if found is not None else None


def tax_in(name: str) -> bool:
    """Whether a column's name says that it is with tax, or without."""
    return _OF_TAX.search(name) is not None


def is_total(name: str) -> bool:
    """Whether a column seems to hold the total of a row or an order."""
    return plain(name) in _TOTALS


def known(names: Sequence[str]) -> int:
    """How many fields of an order these names tell apart."""
    return sum(bool(columns_of(field, names)) for field in _SURE)


def columns_of(field: str, names: Sequence[str]) -> list[str]:
    """The columns that could be a field: those that say so, or else those that might."""
    usable = {
        name: plain(name)
        for name in names
        if name.strip() and name.isprintable() and "%" not in name
    }
    for words in (_SURE, _PERHAPS):
        found = [name for name, bare in usable.items() if bare in words.get(field, ())]
        if found:
            return found
    return []


def says_so(field: str, name: str) -> bool:
    """Whether a column's name leaves no doubt."""
    return plain(name) in _SURE[field]
