"""Check digits of the numbers that people carry: public schemes, each one line of arithmetic.

A random number passes with the chance given; together with the number of different cells that must
pass, this is what keeps ordinary ids apart from identifiers.
"""

from __future__ import annotations

import ipaddress


def ip(text: str) -> bool:
    """Return whether the text is an IPv4 or IPv6 address.

    Example:
        >>> ip("192.0.2.17"), ip("12:30"), ip("1.2.3.400")
        (True, False, False)
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def luhn(digits: str) -> bool:
    """Return whether the last digit checks the others (ISO/IEC 7812-1, annex B); chance 1/10."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def card(text: str) -> bool:
    """Return whether the text is a payment card's number: length of its issuer, and `luhn`.

    Example:
        >>> card("4111 1111 1111 1111"), card("4111 1111 1111 1112")
        (True, False)
    """
    number = plain(text)
    lengths = {"34": 15, "37": 15, "4": 16, "6011": 16, "65": 16}
    lengths |= {str(n): 16 for n in (*range(51, 56), *range(2221, 2721))}
    known = any(number.startswith(start) and len(number) == length for start, length in lengths.items())
    return known and luhn(number)


def iban(text: str) -> bool:
    """Return whether the text is a bank account's number (ISO 13616, mod 97); chance 1/97.

    Example:
        >>> iban("DE89 3704 0044 0532 0130 00"), iban("DE88 3704 0044 0532 0130 00")
        (True, False)
    """
    number = plain(text)
    return (
        15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1
    )


def nhs(text: str) -> bool:
    """Return whether the text is an NHS number of England (weights 10 to 2, mod 11); chance 1/11.

    Example:
        >>> nhs("943 476 5919"), nhs("9434765918")
        (True, False)
    """
    number = plain(text)
    total = sum(int(digit) * weight for digit, weight in zip(number, range(10, 1, -1), strict=False))
    return len(set(number)) > 1 and (11 - total % 11) % 11 == int(number[9])


def kvnr(text: str) -> bool:
    """Return whether the text is a German health insurance number (SGB V paragraph 290); chance 1/10.

    Example:
        >>> kvnr("A123456780"), kvnr("A123456781")
        (True, False)
    """
    digits = f"{ord(text[0]) - 64:02d}{text[1:9]}"
    products = [int(digit) * (1 + place % 2) for place, digit in enumerate(digits)]
    return sum(value // 10 + value % 10 for value in products) % 10 == int(text[9])


def dni(text: str) -> bool:
    """Return whether the text is a Spanish identity number, DNI or NIE (mod 23); chance 1/26.

    Example:
        >>> dni("12345678Z"), dni("X1234567L"), dni("12345678A")
        (True, True, False)
    """
    number = plain(text)
    body = number[:-1].translate(str.maketrans("XYZ", "012"))
    return len(body) == 8 and "TRWAGMYFPDXBNJZSQVHLCKE"[int(body) % 23] == number[-1]


def nir(text: str) -> bool:
    """Return whether the text is a French social security number (97 less mod 97); chance 1/97.

    Example:
        >>> nir("2 55 08 14 168 025 38"), nir("255081416802539")
        (True, False)
    """
    number = plain(text)
    body = number[:13].replace("2A", "19").replace("2B", "18")
    return len(number) == 15 and body.isdigit() and 97 - int(body) % 97 == int(number[13:])


def cpf(text: str) -> bool:
    """Return whether the text is a Brazilian taxpayer's number (two digits, mod 11); chance 1/100.

    Example:
        >>> cpf("529.982.247-25"), cpf("52998224724")
        (True, False)
    """
    number = plain(text)
    for length in (9, 10):
        total = sum(
            int(digit) * weight for digit, weight in zip(number, range(length + 1, 1, -1), strict=False)
        )
        if total * 10 % 11 % 10 != int(number[length]):
            return False
    return len(set(number)) > 1


def plain(text: str) -> str:
    """Return the text without blanks, points and dashes."""
    return "".join(character for character in text if character.isalnum())


_VERHOEFF = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)
_DIHEDRAL = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)


def snomed(text: str) -> bool:
    """Return whether the text is an identifier of SNOMED CT: 6 to 18 digits, Verhoeff; chance 1/10.

    Example:
        >>> snomed("22298006"), snomed("73211009"), snomed("22298007"), snomed("12345")
        (True, True, False, False)
    """
    if not (text.isascii() and text.isdigit() and 6 <= len(text) <= 18 and text[0] != "0"):
        return False
    check = 0
    for place, digit in enumerate(reversed(text)):
        check = int(_DIHEDRAL[check][int(_VERHOEFF[place % 8][int(digit)])])
    return check == 0
