"""Words by which soft entities are known, in eight languages: plain data, matched without regard to case where marked.

Given names are common ones of many cultures, left out where they are ordinary words, months, places or products.
"""

from __future__ import annotations

_NAMES = """
Aaron Abdul Abdullah Abigail Adam Adela Adrian Adriana Agnes Agnieszka Ahmed Aisha Alan Albert Alberto Alejandro
Aleksandra Alessandro Alexander Alexandra Alfonso Ali Alice Alicia Alina Allison Amanda Amelia Amina Amir Amit Ana
Anastasia Anders Andre Andrea Andreas Andrew Andrzej Angela Angelika Anita Anja Ankita Anna Anne Annette Antoine Anton
Antonio Arjun Arthur Arturo Astrid Audrey Barbara Bartosz Beatrice Beatriz Ben Benjamin Bernard Bernd Bert Birgit Bjorn
Boris Brandon Brenda Brian Bruno Camila Camille Carla Carlos Carmen Carol Caroline Catarina Catherine Cecilia Charles
Charlotte Chiara Chloe Chloé Chris Christian Christina Christine Christopher Claire Clara Claudia Cristina Cynthia Daan
Damian Daniel Daniela Danielle Dariusz David Deborah Denise Dennis Deepak Diana Diego Dieter Dimitri Dmitri Dominik Donald
Dorota Dorothy Douglas Edward Eduardo Elena Eleanor Elif Elisa Elizabeth Ella Ellen Emil Emilia Emily Emma Emmanuel Enrique
Eric Erik Esther Eva Evelyn Ewa Fabian Fatima Federico Felipe Felix Fernanda Fernando Florian Franz Frances Francesca
Francesco Francisco Frank François Frédéric Frederik Gabriel Gabriela Gary Georg George Gerald Gianni Gilles Giorgio
Giovanni Giulia Giuseppe Gloria Gonzalo Grzegorz Guido Guillaume Gustavo Hanna Hannah Hans Harold Hassan Heather Heike
Heinz Helen Helena Helga Henrik Henry Hiroshi Hugo Ian Ibrahim Ignacio Ines Inga Ingrid Irene Irina Isabel Isabella Ivan
Jacek Jack Jacob Jacqueline Jakob Jakub James Jan Jana Jane Janet Janina Jason Javier Jean Jeffrey Jennifer Jeroen Jerzy
Jessica Joan Joanna Joao João Joe Joel Johan Johanna Johannes John Jonas Jonathan Jorge Jose José Joseph Joshua Juan Judith
Julia Julian Juliana Julie Julien Jürgen Justin Kaitlyn Karen Karin Karl Katarzyna Kate Katharina Katherine Kathleen Katja
Keith Kelly Kenji Kenneth Kevin Khalid Kim Klaus Krzysztof Kumar Lakshmi Larissa Larry Lars Laura Lauren Laurent Lea Leah
Leila Lena Leon Leonardo Li Liam Lina Linda Lisa Lorenzo Louis Louise Lucas Lucia Luis Luisa Lukas Maciej Magda Magdalena
Mahmoud Manuel Manuela Marc Marcel Marcin Marco Marcos Margaret Margarita Maria María Mariana Marie Marina Mario Marta
Martha Martin Martina Mary Mateo Mateusz Mathieu Matteo Matthew Matthias Maurice Maximilian Mehmet Mei Melanie Melissa
Michael Michal Michel Michelle Miguel Mikael Mirjam Mohamed Mohammed Monika Muhammad Mustafa Nadia Nadine Nancy Natalia
Natalie Nathalie Nathan Neha Nicholas Nicolas Nicole Nikolai Nina Noah Nora Olaf Ole Oleg Olga Oliver Olivia Omar Oscar
Pablo Paola Patricia Patrick Paul Paula Pauline Paulo Pavel Pawel Pedro Peter Petra Philip Philipp Philippe Pierre Pieter
Piotr Priya Rachel Rafael Rahul Rainer Raj Rajesh Ralf Ramon Raquel Raymond Rebecca Renate Ricardo Richard Rita Robert
Roberto Rodrigo Roger Rohan Roland Ronald Rosa Ryan Sabine Salma Samantha Samuel Sandra Sanne Sara Sarah Saskia Sebastian
Sergei Sergio Sharon Shreya Silvia Simone Siobhan Sofia Sofie Sophia Sophie Stefan Stefania Stephanie Stephen Steven Sunil
Susan Susanne Svetlana Sven Sylvie Takashi Tamara Tanja Tatiana Teresa Theodore Theresa Thomas Thorsten Tim Timothy Tobias
Tom Tomas Tomasz Ulrich Ursula Valentina Valeria Vanessa Vera Veronica Vicente Vijay Vincent Vladimir Walter Wei Wilhelm
William Wojciech Wolfgang Xavier Yasmin Yuki Yusuf Yves Zainab Zofia Zoe
"""
GIVEN_NAMES = tuple(_NAMES.split())

# Followed by a name, whatever its spelling.
INTRODUCTIONS = (
    "my name is", "my name's", "i am called", "ich heiße", "ich heisse", "mein name ist", "je m'appelle", "mon nom est",
    "je suis", "me llamo", "mi nombre es", "soy", "mi chiamo", "il mio nome è", "mijn naam is", "ik heet", "meu nome é",
    "chamo-me", "me chamo", "nazywam się", "mam na imię", "this is", "hier ist", "signed by", "unterzeichnet von",
)  # fmt: skip
TITLES = (
    "Mr.", "Mr", "Mrs.", "Mrs", "Ms.", "Ms", "Dr.", "Dr", "Prof.", "Sir", "Herr", "Herrn", "Frau", "Monsieur", "Madame",
    "Mme", "Mlle", "Señor", "Señora", "Sr.", "Sra.", "Don", "Doña", "Signor", "Signora", "Sig.", "Dott.", "Dhr.", "Mevrouw",
    "Mevr.", "Meneer", "Senhor", "Senhora", "Dona", "Pan", "Pani",
)  # fmt: skip
FIELDS = (
    "name", "full name", "first name", "last name", "customer", "patient", "employee", "applicant", "contact", "recipient",
    "vorname", "nachname", "kunde", "kundin", "patientin", "nom", "prénom", "nombre", "apellidos", "nome", "cognome", "naam",
    "imię", "nazwisko", "client", "signed",
)  # fmt: skip
CLOSINGS = (
    "regards", "best regards", "kind regards", "sincerely", "yours", "cheers", "best", "mit freundlichen grüßen",
    "viele grüße", "cordialement", "bien à vous", "saludos", "un saludo", "atentamente", "cordiali saluti", "distinti saluti",
    "met vriendelijke groet", "atenciosamente", "cumprimentos", "pozdrawiam", "z poważaniem",
)  # fmt: skip
# What stands after a given name in the names of places, things and companies.
_THINGS = """
Street Road Avenue Station Park University College School Hospital Airport Lake River Island Bay Beach Square House Hall
Museum Prize Award Theorem Algorithm Test Method Server Cloud Programme Program Foundation Institute Inc Ltd GmbH Corp Carlo
Day Hill Bridge Church Cathedral County City
"""
NOT_SURNAMES = frozenset(_THINGS.split())

BIRTH_CUES = (
    "born on", "born", "date of birth", "dob", "d.o.b.", "birth date", "birthdate", "birth_date", "birthday is", "birthday",
    "geboren am", "geburtsdatum", "geb.", "geburtstag", "né le", "née le", "date de naissance", "nacido el", "nacida el",
    "nací el", "fecha de nacimiento", "nato il", "nata il", "data di nascita", "geboren op", "geboortedatum", "nascido em",
    "nascida em", "data de nascimento", "urodzony", "urodzona", "data urodzenia",
)  # fmt: skip
MONTHS = (
    "jan(?:uary|uar|vier|ner)?", "feb(?:ruary|ruar|rero|braio)?", "février", "mar(?:ch|s|zo|ço|t|zec|ca)?", "märz",
    "apr(?:il|ile)?", "avril", "abril", "may", "mai", "mayo", "maggio", "maio", "mei", "maja", "june?", "juni", "juin", "junio",
    "giugno", "junho", "july?", "juli", "juillet", "julio", "luglio", "julho", "aug(?:ust|ustus)?", "août", "agosto",
    "sep(?:t|tember|tembre|tiembre)?", "settembre", "setembro", "oct(?:ober|obre|ubre)?", "okt(?:ober)?", "ottobre", "outubro",
    "nov(?:ember|embre|iembre|embro)?", "dec(?:ember|embre)?", "dez(?:ember|embro)?", "décembre", "diciembre", "dicembre",
    "stycznia", "lutego", "marca", "kwietnia", "czerwca", "lipca", "sierpnia", "września", "października", "listopada",
    "grudnia", "enero", "gennaio", "janeiro", "fevereiro", "januari", "februari", "maart",
)  # fmt: skip

# Beginnings of words: illnesses, states, treatments and medicines that are about a body or a mind and little else.
HEALTH_STEMS = (
    # illnesses
    "diabet", "cancer", "krebsdiagnos", "brustkrebs", "lungenkrebs", "krebserkrank", "cáncer", "cancro", "kanker", "câncer",
    "rak piersi", "rak płuc", "tumou?r", "leuk[aä]?emi", "lymphom", "melanom", "carcinom", "metasta[st]", "hiv", "hepatitis",
    "hépatite", "tubercul", "tuberkul", "epilep", "épileps", "asthma", "asthme", "asma", "astma", "copd", "pneumoni",
    "alzheim", "alzhéim", "demenz", "dementia", "demencia", "démence", "parkinson", "multiple sclerosis", "multiple sklerose",
    "sclérose en plaques", "esclerosis", "migraine", "migräne", "migraña", "emicrani", "enxaqueca", "migren", "depressi",
    "dépressi", "depresi", "depressão", "anxiety disorder", "angststör", "bipolar disorder", "schizo(?:phren|fren)",
    "anorexi", "bulimi", "autis(?:m|tic|mus)", "adhd", "ptsd", "hypertensi", "hipertensi", "hipertensão", "ipertension",
    "bluthochdruck", "nadciśnieni", "high blood pressure", "blood pressure was", "heart attack", "herzinfarkt", "infarto",
    "infarctus", "(?:a|had|his|her) stroke", "schlaganfall", "arthrit", "artrit", "osteopor", "fibromyalg", "lupus",
    "crohn", "colitis", "celiac", "coeliac", "zöliakie", "psoria", "eczema", "neurodermit", "endometrio", "thyroid",
    "schilddrüs", "an[aä]?emia", "h[aä]emophil", "sickle cell", "cystic fibrosis", "kidney failure", "nierenversagen",
    "dialys", "cirrhosis", "sexually transmitted", "chlamydia", "gonorrh", "syphilis", "herpes",
    # states and events
    "pregnan", "schwanger", "enceinte", "embaraza", "incinta", "zwanger", "grávida", "w ciąży", "miscarriage", "fehlgeburt",
    "fausse couche", "abortion", "suicid", "selbstmord", "self-harm", "overdos", "alcoholi[cs]", "alkoholi", "in rehab",
    "addict(?:ion|ed) to", "allergic to", "allergisch gegen", "allergi[ae] ", "disabled person", "wheelchair",
    "diagnosed with", "diagnostiziert", "diagnostiqué", "diagnosticad", "suffers? from", "suffering from", "leidet an",
    "leide an", "souffre d", "sufro de", "soffro di", "choruj", "chorob[ęay]",
    # treatments and medicines
    "chemotherap", "chimioth", "quimioterap", "radiotherap", "psychotherap", "my therapist", "my psychiatrist", "insulin",
    "metformin", "antidepress", "prozac", "fluoxetin", "sertralin", "citalopram", "lithium carbonate", "xanax", "diazepam",
    "ritalin", "oxycod", "methadon", "morphin", "warfarin", "heparin", "statins?\\b", "atorvastatin", "lisinopril",
    "levothyrox", "prednison", "penicillin", "amoxicillin", "ibuprofen", "paracetamol", "viagra", "antiretroviral",
    "organ transplant", "pacemaker", "biopsy", "mammogra", "mg twice a day", "mg daily",
)  # fmt: skip
