"""Words the generators put before a number, forms of phone numbers, and names: plain data."""

PHONE = (
    "phone",
    "Tel.",
    "Telefon",
    "téléphone",
    "teléfono",
    "telefono",
    "telefoonnummer",
    "telefone",
    "call me at",
    "mobile",
)
SSN = ("SSN", "social security number", "Social Security")
ITIN = ("ITIN", "taxpayer identification number")
NINO = ("NI number", "National Insurance number", "NINO")
NHS = ("NHS number", "NHS no")
STEUER_ID = ("Steuer-ID", "Steueridentifikationsnummer", "IdNr", "tax ID", "Steuer-Identifikationsnummer")
NIR = ("numéro de sécurité sociale", "NIR", "n° sécu")
DNI = ("DNI", "NIF", "documento de identidad")
NIE = ("NIE", "número de extranjero")
BSN = ("BSN", "burgerservicenummer", "sofinummer")
AADHAAR = ("Aadhaar", "Aadhaar number", "UIDAI")
PAN = ("PAN", "PAN card", "permanent account number")
CPF = ("CPF", "CPF nº")
CNPJ = ("CNPJ",)
PASSPORT = (
    "passport number", "passport no.", "Passport", "Reisepassnummer", "Passnummer", "numéro de passeport",
    "número de pasaporte", "numero di passaporto", "paspoortnummer", "número do passaporte", "numer paszportu",
)  # fmt: skip
MEDICAL_RECORD = (
    "MRN",
    "medical record number",
    "medical record",
    "patient ID",
    "patient number",
    "Patientennummer",
)

# N is a digit from 2, n any digit; the countries' own numbering plans.
PHONES = (
    "+1 Nnn-Nnn-nnnn",
    "+1 (Nnn) Nnn-nnnn",
    "+1NnnNnnnnnn",
    "+44 20 7nnn nnnn",
    "+44 7Nnn nnnnnn",
    "+49 30 Nnnnnnn",
    "+49 151 Nnnnnnnn",
    "+4915NNnnnnnnn",
    "+33 6 NN nn nn nn",
    "+33 1 4n nn nn nn",
    "+39 06 Nnnn nnnn",
    "+39 3Nn Nnnnnnn",
    "+34 6Nn nnn nnn",
    "+34 91 Nnn nn nn",
    "+31 6 Nnnnnnnn",
    "+31 20 Nnn nnnn",
    "+91 98nnn nnnnn",
    "+91-98nnnnnnnn",
    "+55 11 9Nnnn-nnnn",
    "(Nnn) Nnn-nnnn",
    "Nnn-Nnn-nnnn",
    "Nnn.Nnn.nnnn",
    "020 7Nnn nnnn",
    "07Nnn nnnnnn",
    "030 Nnnnnnn",
    "0151 Nnnnnnnn",
    "06 NN nn nn nn",
    "01.4N.nn.nn.nn",
    "06 Nnnnnnnn",
    "020-Nnnnnnn",
    "6NN nnn nnn",
    "3Nn Nnnnnnn",
    "98nnn nnnnn",
    "(11) 9Nnnn-nnnn",
)  # fmt: skip

FIRST_NAMES = (
    "Anna", "Peter", "Maria", "John", "Fatima", "Wei", "Priya", "Carlos", "Sofia", "Lukas", "Emma", "Olga", "Yusuf",
    "Ingrid", "Pierre", "Giulia", "Joao", "Aisha", "Kenji", "Chloe", "Mateusz", "Katarzyna", "Daan", "Sanne", "Rohan",
    "Siobhan", "Tomas", "Elif", "Nadia", "Oliver",
)  # fmt: skip
LAST_NAMES = (
    "Schmidt", "Smith", "Garcia", "Rossi", "Dubois", "Kowalski", "Jansen", "Silva", "Patel", "Tanaka", "Nguyen",
    "Okafor", "Haddad", "Ivanova", "Larsen", "Murphy", "Weber", "Fischer", "Moreau", "Bianchi", "Santos", "Sharma",
    "Johnson", "Williams", "Wisniewski", "Bakker", "Yilmaz", "Hernandez", "Kim", "Andersson",
)  # fmt: skip
