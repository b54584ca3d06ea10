"""Sentences with a person, an address, a date of birth or something about a person's health; and sentences without.

Half of what is said of persons comes with a word that gives it away (a title, "my name is"), half without: recall of
best effort is reported for what people write, not for what is easy.
"""

from random import Random

from bench.privacy.labels import FIRST_NAMES, LAST_NAMES
from bench.privacy.values import Sample, Value

PERSON = (
    "My name is {n} and I need help with my invoice.",
    "Hello, this is {n} from accounting.",
    "Dear Mr. {l}, thank you for your message.",
    "Please ask Dr. {n} for the report.",
    "Best regards,\n{n}",
    "Patient: {n}",
    "Ich heiße {n} und habe eine Frage.",
    "Sehr geehrte Frau {l}, anbei die Unterlagen.",
    "Je m'appelle {n}, j'ai besoin d'aide.",
    "Madame {l} a téléphoné ce matin.",
    "Me llamo {n} y vivo en Madrid.",
    "Mi chiamo {n}, vorrei un consiglio.",
    "Mijn naam is {n}.",
    "O meu nome é {n} e preciso de ajuda.",
    "Nazywam się {n}.",
    '{{"name": "{n}", "plan": "basic"}}',
    "{n} called yesterday about the contract.",
    "Write a reference letter for {n}, who leaves us in May.",
    "Did you know that {n} got promoted?",
    "The meeting with {n} is moved to Tuesday.",
    "Forward this to {n} please.",
    "Yesterday {n} und ich haben gesprochen.",
    "Hier {n} m'a envoyé le contrat.",
    "I met {n} in Lisbon last year.",
)
PLACES = {
    "en": (
        "{h} {w} Street, {c}, IL {z}",
        "{h} {w} Ave, Apt {h}, {c}, TX {z}",
        "{h} {w} Road, London SW1A 2AA",
    ),
    "de": ("{w}straße {h}, {z} {c}", "{w}weg {h}, {z} {c}"),
    "fr": ("{h} rue de la {w}, {z} {c}", "{h} avenue {w}, {z} {c}"),
    "es": ("Calle {w} {h}, {z} {c}", "Avenida {w} {h}, {z} {c}"),
    "it": ("Via {w} {h}, {z} {c}", "Piazza {w} {h}, {z} {c}"),
    "nl": ("{w}straat {h}, 1015 CJ {c}", "{w}laan {h}, 3511 AB {c}"),
    "pt": ("Rua das {w} {h}, 1200-195 {c}", "Avenida {w}, {h}, 01310-100 {c}"),
    "pl": ("ul. {w} {h}, 00-590 {c}", "al. {w} {h}, 31-120 {c}"),
}
STREETS = (
    "Oak",
    "Haupt",
    "Linden",
    "Paix",
    "Mayor",
    "Roma",
    "Flores",
    "Kerk",
    "Garibaldi",
    "Victoria",
    "Station",
    "Polna",
)
CITIES = (
    "Springfield",
    "Berlin",
    "Paris",
    "Madrid",
    "Milano",
    "Amsterdam",
    "Lisboa",
    "Warszawa",
    "Austin",
    "Lyon",
)
ADDRESS = (
    "I live at {v}.",
    "Please ship it to {v}",
    "Adresse: {v}",
    "{v} is where the parcel went.",
    "Mein Büro: {v}, 2. OG",
)
BORN = (
    "I was born on {v}.", "DOB: {v}", "Date of birth: {v}", "geboren am {v} in Köln", "Geburtsdatum: {v}", "né le {v}",
    "date de naissance : {v}", "nacido el {v}", "fecha de nacimiento: {v}", "nata il {v}", "geboren op {v}",
    "data de nascimento: {v}", "urodzony {v}", '{{"birthDate": "{v}"}}', "my birthday is {v}", "she turned 40, her day is {v}",
)  # fmt: skip
DATES = (
    "{y}-{m:02d}-{d:02d}",
    "{d:02d}.{m:02d}.{y}",
    "{d:02d}/{m:02d}/{y}",
    "{d} March {y}",
    "March {d}, {y}",
    "{d}. März {y}",
)
HEALTH = (
    "My father was diagnosed with type 2 diabetes.", "She takes metformin 500 mg twice a day.", "I am HIV positive.",
    "He suffers from depression and anxiety.", "Ich habe eine Krebsdiagnose bekommen.", "Sie leidet an Epilepsie.",
    "J'ai un cancer du sein.", "Je prends de l'insuline.", "Tengo asma desde niño.", "Mi madre tiene alzhéimer.",
    "Soffro di emicrania.", "Ik heb diabetes.", "Tenho hipertensão.", "Mam chorobę Leśniowskiego-Crohna.",
    "I had a miscarriage last year.", "She is pregnant and allergic to penicillin.", "My therapist changed my dose.",
    "His blood pressure was 160/100 at the last visit.", "I am in rehab for alcohol.", "He had a stroke in May.",
)  # fmt: skip
INNOCENT = (
    "Explain how a health check differs from a readiness probe.", "The address of the pointer is printed in hex.",
    "Release 4.2 came out on 12 March 2019.", "Write a poem about Lisbon in spring.", "Mount the volume at /var/lib.",
    "What does Python do on import?", "Paris is the capital of France.", "Translate 'Guten Morgen' into Polish.",
    "Compare Kafka with RabbitMQ.", "The Marie Curie programme funds research.", "Sort the list in 12 steps.",
    "Der Fehler steht in Zeile 12, Spalte 10.", "Le module 12 de la formation est complet.", "Summarise chapter 7.",
    "Our Street Fighter tournament starts at 5.", "Use Monte Carlo sampling here.", "Is this test positive or negative?",
    "Central Park has 843 acres.", "Add a unit test for Date Parser.", "Why did Windows Server 2019 reboot?",
)  # fmt: skip


# What lists and patterns do not expect: names from elsewhere, places without a street, illness in plain words.
RARE_NAMES = ("Thandiwe Nkosi", "Oluwaseun Adeyemi", "Bjarki Thorsson", "Nguyen Thi Lan", "Xochitl Quispe", "Saoirse Byrne",
              "Tevita Fonua", "Ngozi Eze", "Aarav Iyer", "Zhanna Abenova", "Eluned Price", "Kwabena Osei")  # fmt: skip
UNUSUAL_PLACES = ("Flat 3, The Old Mill, Church End", "PO Box 1042, Austin TX", "Plot 14, Sector 22, Gurgaon 122015",
                  "the blue house behind the school in Lyon", "3-2-1 Marunouchi, Chiyoda-ku", "Am Markt 7, Bremen")  # fmt: skip
PLAIN_ILLNESS = ("I cannot sleep and cry every day.", "Her sugar is too high again.", "My knee has hurt for weeks.",
                 "Mir ist seit Tagen schwindlig.", "J'ai mal au dos depuis lundi.", "The lump turned out to be benign.")  # fmt: skip


def _person(rng: Random) -> Sample:
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    pattern = rng.choice(PERSON)
    whole = f"{first} {last}" if rng.random() < 0.75 else rng.choice(RARE_NAMES)
    shown = last if "{l}" in pattern else whole
    return Sample(Value("person", shown), (pattern.format(n=shown, l=last),))


def _address(rng: Random) -> Sample:
    pattern = rng.choice(PLACES[rng.choice(sorted(PLACES))])
    zip_code = f"{rng.randint(10000, 98999)}"
    text = pattern.format(h=rng.randint(1, 199), w=rng.choice(STREETS), c=rng.choice(CITIES), z=zip_code)
    text = text if rng.random() < 0.8 else rng.choice(UNUSUAL_PLACES)
    return Sample(Value("address", text), (rng.choice(ADDRESS).format(v=text),))


def _born(rng: Random) -> Sample:
    text = rng.choice(DATES).format(y=rng.randint(1935, 2015), m=rng.randint(1, 12), d=rng.randint(1, 28))
    return Sample(Value("date_of_birth", text), (rng.choice(BORN).format(v=text),))


def _health(rng: Random) -> Sample:
    text = rng.choice(HEALTH if rng.random() < 0.75 else PLAIN_ILLNESS)
    return Sample(Value("health", text), (text,))


SOFT = {"person": _person, "address": _address, "date_of_birth": _born, "health": _health}


def samples(kind: str, count: int, seed: int) -> list[Sample]:
    rng = Random(seed)
    return [SOFT[kind](rng) for _ in range(count)]
