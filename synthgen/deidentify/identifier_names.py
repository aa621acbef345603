"""Which column names say that a column identifies a person.

Names only, never cells: this serves as a reminder, not as proof. The kinds follow the eighteen
identifiers of the HIPAA safe harbour, 45 CFR 164.514(b)(2), in English and common German, French,
Spanish and Portuguese words.
"""

from __future__ import annotations

import re
import unicodedata

# A phrase is words in a row, anywhere in the name. "=" first: the whole name only. "#": a word for a
# number; the ambiguous ones count at the end only, for patient_no_show and patient_code_status are none.
_NUMBER = frozenset("id ids nr number nbr numero nummer".split())
_NUMBER_AT_END = _NUMBER | frozenset("no num key code".split())
_PHRASES: dict[str, str] = {
    "name": (
        "=name, =names, =nom, =nome, =nombre, =nombres, full name, first name, last name, family name, "
        "given name, middle name, maiden name, patient name, pat name, person name, subject name, mother "
        "name, mothers name, father name, fathers name, physician name, doctor name, nurse name, contact "
        "name, employer name, name of patient, name patient, name des patienten, surname, forename, "
        "fullname, firstname, lastname, patientname, vorname, nachname, familienname, geburtsname, "
        "patientenname, prenom, nom famille, nom de famille, nom patient, nom de naissance, nom "
        "naissance, nombre paciente, nombre completo, nombre del paciente, apellido, apellidos, "
        "sobrenome, nome paciente, nome completo, nome do paciente, =initials, patient initials"
    ),
    "address": (
        "address, addresses, home addr, =addr, adresse, anschrift, strasse, =street, street name, street "
        "number, house number, hausnummer, zip, zipcode, zip code, postcode, post code, postal code, "
        "postalcode, plz, postleitzahl, code postal, codigo postal, =cep, direccion, domicilio, endereco, "
        "logradouro, wohnort, geo location, latitude, longitude, =lat, =lon, =lng"
    ),
    "phone": (
        "phone, phones, telephone, telefon, telefonnummer, handynummer, telefono, telefone, =tel, tel #, "
        "phonenumber, =mobile, mobile #, mobile phone, cell phone, cellphone, =pager, celular, =handy, "
        "=fax, fax #"
    ),
    "e-mail": (
        "email, emails, e mail, =mail, emailaddress, correo, correo electronico, courriel, ip address, =url"
    ),
    "record number": (
        "mrn, medical record, hospital number, hospital no, hospital nr, patient #, pat #, subject #, "
        "person #, encounter id, hadm id, =id, =uuid, =guid, chart #, case id, case nr, record #, "
        "patientid, subjectid, personid, patientennummer, patientennr, fallnummer, fallnr, aktenzeichen, "
        "=nhc, historia clinica, numero dossier, numero de dossier, prontuario, account #, accession #, "
        "study uid, nhs number, nhs no, =ipp"
    ),
    "insurance number": (
        "insurance #, policy #, member #, beneficiary #, medicare #, medicaid #, health plan #, health "
        "card #, versichertennummer, versicherungsnummer, krankenversichertennummer, kvnr, versicherten "
        "#, numero assure, numero de assure, cartao sus, =cns"
    ),
    "social security number": (
        "ssn, social security, sozialversicherungsnummer, svnr, securite sociale, =nir, seguridad social, "
        "=nss, =cpf, =rg, =dni, =nie, =curp, =nino, national insurance, national id, personal id, "
        "personnummer, passport, driver license, drivers license, driving licence, license plate, tax id, "
        "steuernummer, iban, bank account"
    ),
    "birth date": (
        "dob, birth date, birthdate, birth day, birthday, date of birth, date birth, birth dt, "
        "geburtsdatum, geburtstag, geb datum, gebdatum, gebdat, geb dat, date naissance, date de "
        "naissance, =ddn, fecha nacimiento, fecha de nacimiento, data nascimento, data de nascimento"
    ),
}


def kind_of(name: str) -> str | None:
    """Return what identifier a column's name says it is, such as ``birth date``, or None.

    Example:
        >>> kind_of("dateOfBirth"), kind_of("num_medications")
        ('birth date', None)
    """
    words = words_of(name)
    joined = "".join(words)
    for kind, phrases in _PARSED.items():
        for whole, phrase in phrases:
            if joined == "".join(phrase) or (words == list(phrase) if whole else _holds(words, phrase)):
                return kind
    return None


def names_patient(name: str) -> bool:
    """Return whether a column's name says that it numbers patients, so that it may be the privacy unit.

    Example:
        >>> names_patient("patient_nbr"), names_patient("encounter_id")
        (True, False)
    """
    words = words_of(name)
    if words in (["pid"], ["patient"], ["subject"]) or "mrn" in words:
        return True
    return kind_of(name) == "record number" and re.match("pat|subject|person", "".join(words)) is not None


def _parse(text: str) -> tuple[tuple[bool, tuple[str, ...]], ...]:
    phrases = [phrase.strip() for phrase in text.split(",")]
    return tuple((phrase.startswith("="), tuple(phrase.lstrip("=").split())) for phrase in phrases)


_PARSED = {kind: _parse(text) for kind, text in _PHRASES.items()}


def words_of(name: str) -> list[str]:
    """Split snake_case, camelCase and digits into lower-case words without accents."""
    name = name.replace("ß", "ss")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", plain)]


def _holds(words: list[str], phrase: tuple[str, ...]) -> bool:
    """Return whether the phrase stands in the words, in a row."""
    for start in range(len(words) - len(phrase) + 1):
        numbers = _NUMBER_AT_END if start + len(phrase) == len(words) else _NUMBER
        pairs = zip(words[start:], phrase, strict=False)
        if all(word in numbers if part == "#" else word == part for word, part in pairs):
            return True
    return False
