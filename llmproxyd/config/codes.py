"""Every code a problem can carry: what it means, why it is a problem, and how it looks wrong and right.

The single list. Codes are never reused and never renumbered: people search for them. Hundreds tell the kind: 0 reading
files, 1 shape, 2 names, 3 rules, 4 privacy, 5 money, 6 credentials, 7 versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent, indent
from types import MappingProxyType
from typing import Final

import msgspec


class Code(msgspec.Struct, frozen=True):
    """``title`` is a few words; ``cause`` whole sentences; ``bad`` and ``good`` are YAML, or a command where no YAML
    shows it."""

    code: str
    title: str
    cause: str
    bad: str
    good: str


def explain_code(code: str) -> str | None:
    """The page for a code, in any case, as text; None if there is no such code."""
    known = CODES.get(code.strip().upper())
    if known is None:
        return None
    return (
        f"{known.code}: {known.title}\n\n{known.cause}\n\n"
        f"Wrong:\n{indent(known.bad, '    ')}\n\nRight:\n{indent(known.good, '    ')}\n"
    )


def _code(code: str, title: str, cause: str, bad: str, good: str) -> Code:
    """Write the texts as they read best in the source; their common indent and line breaks in ``cause`` go."""
    return Code(code, title, " ".join(cause.split()), dedent(bad).strip("\n"), dedent(good).strip("\n"))


_ALL: Final = (
    _code(
        "LP000",
        "a fault of llmproxyd itself",
        """llmproxyd failed while it read the files, in a way that it should not: nothing is known to be wrong with what
        they say. The configuration in force stays in force, and the log has the traceback. Please report it with the
        version and, if you can, the change that led to it; undoing that change most likely helps for now.""",
        """
        $ llmproxyd check      # ends with error[LP000] and the name of a Python exception
        """,
        """
        $ llmproxyd --version                        # for the report, with the traceback
        $ git -C /etc/llmproxyd diff HEAD~1          # and what was changed last
        """,
    ),
    _code(
        "LP001",
        "the file is not valid YAML",
        """The file could not be read as YAML, so nothing in it is known. Usual reasons: a quote or bracket that is not
        closed, a value with a colon, a keys' indent that does not match its neighbours, or a feature of YAML that is
        not supported here on purpose: tags, merge keys, several documents in one file.""",
        """
        providers:
          openai:
            endpoint: "https://api.openai.com/v1
        """,
        """
        providers:
          openai:
            endpoint: "https://api.openai.com/v1"
        """,
    ),
    _code(
        "LP002",
        "a file cannot be read",
        """The file is missing, may not be read by the user the daemon runs as, is a directory, or went on changing
        while it was read. While the daemon runs it keeps the configuration it has.""",
        """
        $ llmproxyd check --config-dir /etc/llmproxyd      # where providers.yaml belongs to root, mode 0600
        """,
        """
        $ chgrp llmproxyd /etc/llmproxyd/providers.yaml
        $ chmod 0640 /etc/llmproxyd/providers.yaml
        """,
    ),
    _code(
        "LP003",
        "a key is written twice",
        """A mapping holds the same key twice. Many readers silently take the last one, so that a reviewer sees one value
        and the program another; YAML 1.2 forbids it.""",
        """
        providers:
          lab:
            zone: local
            endpoint: http://10.0.0.7:8000/v1
            zone: external
        """,
        """
        providers:
          lab:
            zone: local
            endpoint: http://10.0.0.7:8000/v1
        """,
    ),
    _code(
        "LP004",
        "aliases expand without end",
        """An alias contains itself, or aliases of aliases multiply to more values than any configuration needs. Such a
        file can exhaust memory from a few lines, so it is refused before it is expanded.""",
        """
        models: &all [one, *all]
        """,
        """
        models: [one, two]
        """,
    ),
    _code(
        "LP005",
        "a tab, a control character or another encoding",
        """YAML is UTF-8 text, indented with spaces. The file has a tab where its indentation is, a character that YAML
        does not allow, or is saved in another encoding such as UTF-16 or Latin-1.""",
        """
        providers:
        \topenai: {}
        """,
        """
        providers:
          openai: {}
        """,
    ),
    _code(
        "LP006",
        "the file is empty",
        """The file holds nothing, or only comments. An editor or a copy in progress often leaves a file empty for a
        moment, and "no rules" would then mean "no privacy rules"; so nothing is never taken for a configuration.""",
        """
        # routing.yaml, nothing but this comment
        """,
        """
        version: 1
        """,
    ),
    _code(
        "LP007",
        "the file is too large or nested too deeply",
        """A file may have 8 MiB, 250,000 keys and values, and 64 levels. No configuration written by people comes near;
        more usually means the wrong file, or brackets that are never closed.""",
        """
        $ cp requests.log /etc/llmproxyd/routing.yaml
        """,
        """
        $ ls /etc/llmproxyd/routing.d
        10-privacy.yaml  20-cost.yaml
        """,
    ),
    _code(
        "LP008",
        "two files set the same thing",
        """Fragments in providers.d and routing.d add to the main file and to each other; they never override. The same
        setting in two files would depend on the order of their names, so one of the two must go.""",
        """
        # providers.yaml
        providers: {openai: {priority: 1}}
        # providers.d/team.yaml
        providers: {openai: {priority: 5}}
        """,
        """
        # providers.yaml
        providers: {openai: {priority: 1}}
        # providers.d/team.yaml
        providers: {lab: {preset: vllm, endpoint: "http://10.0.0.7:8000"}}
        """,
    ),
    _code(
        "LP101",
        "unknown key",
        """The key does not exist in this place. A misspelt key that is ignored is a setting that silently does not work,
        so it is refused; a similar name that does exist is suggested.""",
        """
        providers:
          openai:
            timout: {total: 5m}
        """,
        """
        providers:
          openai:
            timeouts: {total: 5m}
        """,
    ),
    _code(
        "LP102",
        "wrong type of value",
        """The value is of another type than the setting: a text where a number belongs, a single value where a list
        belongs, and so on. Quotes make a text of anything, and only true and false are booleans (not yes, no, on,
        off).""",
        """
        providers:
          openai:
            priority: "1"
            enabled: yes
        """,
        """
        providers:
          openai:
            priority: 1
            enabled: true
        """,
    ),
    _code(
        "LP103",
        "a required key is missing",
        "Something here only makes sense together with a key that is not given.",
        """
        models:
          smart: [{weight: 90}]
        """,
        """
        models:
          smart: [{to: openai/gpt-5.6-sol, weight: 90}]
        """,
    ),
    _code(
        "LP104",
        "not one of the allowed values",
        "The setting takes one of a few words, and this is none of them.",
        """
        providers:
          lab: {preset: vllm, endpoint: "http://10.0.0.7:8000", zone: home}
        """,
        """
        providers:
          lab: {preset: vllm, endpoint: "http://10.0.0.7:8000", zone: local}
        """,
    ),
    _code(
        "LP105",
        "out of range or not in the right form",
        """The value is of the right type, but too large, too small, too short or too long, or not written as the setting
        wants it.""",
        """
        providers:
          openai:
            max_retries: -1
            timeouts: {total: 5 minutes}
        """,
        """
        providers:
          openai:
            max_retries: 0
            timeouts: {total: 5m}
        """,
    ),
    _code(
        "LP201",
        "unknown provider",
        "A name or a rule speaks of a provider that the provider files do not define.",
        """
        models:
          smart: [anthropik/claude-opus-5-5]
        """,
        """
        models:
          smart: [anthropic/claude-opus-5-5]
        """,
    ),
    _code(
        "LP202",
        "unknown model or deployment",
        """The provider exists, but the model is not among its models. A provider whose models are discovered may have
        any.""",
        """
        # providers.yaml
        providers: {openai: {models: [gpt-5.6-sol]}}
        # routing.yaml
        models: {smart: [openai/gpt-5.6-luna]}
        """,
        """
        # providers.yaml
        providers: {openai: {models: [gpt-5.6-sol, gpt-5.6-luna]}}
        # routing.yaml
        models: {smart: [openai/gpt-5.6-luna]}
        """,
    ),
    _code(
        "LP203",
        "unknown label",
        "A clearance, a default or a rule uses a label that `privacy.labels` does not list.",
        """
        privacy:
          labels: [public, internal, restricted]
          default_label: confidential
        """,
        """
        privacy:
          labels: [public, internal, confidential, restricted]
          default_label: confidential
        """,
    ),
    _code(
        "LP204",
        "a name hides another",
        """Clients ask for models by name: first the names in `models`, then `provider/model`, then plain model ids. This
        name hides one of the later ones, which can then not be asked for any more. That may be meant, as in a migration
        from one model to another.""",
        """
        models:
          gpt-5.6-sol: {any: [anthropic/claude-opus-5-5]}
        """,
        """
        models:
          smart: {any: [anthropic/claude-opus-5-5]}
        """,
    ),
    _code(
        "LP205",
        "defined twice",
        """Two entries of a list have the same name: two models of one provider, two rules of one stage, or one target
        twice in a name. Reports and reasons tell them apart by name.""",
        """
        pipeline:
          cost:
            - {name: cheap, rank_by: price}
            - {name: cheap, prefer: [openai]}
        """,
        """
        pipeline:
          cost:
            - {name: cheapest first, rank_by: price}
            - {name: openai on ties, prefer: [openai]}
        """,
    ),
    _code(
        "LP206",
        "an endpoint or zone that cannot be right",
        """An endpoint is an http or https address without user, password or query; what is more, a preset may need one.
        A zone is declared, not guessed: an endpoint on the internet is not local because its name says so.""",
        """
        providers:
          lab: {preset: vllm, endpoint: "10.0.0.7:8000"}
        """,
        """
        providers:
          lab: {preset: vllm, endpoint: "http://10.0.0.7:8000", zone: private}
        """,
    ),
    _code(
        "LP207",
        "unknown preset",
        """A provider's preset says which language its server speaks and where it stands. A provider named as a preset
        brings it along; any other must name one. Most servers are `openai-compatible`.""",
        """
        providers:
          lab: {endpoint: "http://10.0.0.7:8000/v1"}
        """,
        """
        providers:
          lab: {preset: openai-compatible, endpoint: "http://10.0.0.7:8000/v1"}
        """,
    ),
    _code(
        "LP208",
        "a reference that cannot be resolved",
        """A reference stands for a whole value: ${env:NAME}, ${env:NAME:-default}, ${file:/path} or ${cred:name}. The
        variable is not set and there is no default, or the reference is not written in one of these ways. Only an
        API key may be left unset: its provider is then not configured.""",
        """
        providers:
          azure: {endpoint: "${env:AZURE_URL}"}      # and AZURE_URL is not set
        """,
        """
        providers:
          azure: {endpoint: "${env:AZURE_URL:-https://contoso.openai.azure.com}"}
        """,
    ),
    _code(
        "LP209",
        "unknown tenant",
        """A condition asks for a tenant that `tenants` does not declare, so it could never hold: a slip in a privacy rule
        would silently switch the rule off.""",
        """
        tenants:
          acme: {keys: ["sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21"]}
        pipeline:
          privacy:
            - {name: acme stays home, when: {tenant: akme}, require: {zone: [local]}}
        """,
        """
        tenants:
          acme: {keys: ["sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21"]}
        pipeline:
          privacy:
            - {name: acme stays home, when: {tenant: acme}, require: {zone: [local]}}
        """,
    ),
    _code(
        "LP210",
        "a webhook that cannot be called, or not safely",
        """A webhook is an https address without user and password. Plain http would show the alert, and often the token in
        the address, to everybody on the way, so it is for this machine alone. An address that holds a token is best kept
        outside the file.""",
        """
        alerts:
          webhooks: ["http://hooks.example.net/llm"]
        """,
        """
        alerts:
          webhooks: ["https://hooks.example.net/llm", "${env:ALERT_WEBHOOK}"]
        """,
    ),
    _code(
        "LP211",
        "unknown kind of data",
        """`privacy.detect`, a condition on `data` or a mask names a kind of data that nobody looks for, so that nothing would
        ever be found. Kinds are such as `email` or `national_id.us_ssn`; groups such as `national_id`, `hard` and `pii`
        mean several. `privacy.patterns` adds kinds of your own, under names that are still free.""",
        """
        privacy:
          detect: [{kinds: [credit_card], label: restricted}]
        """,
        """
        privacy:
          detect: [{kinds: [payment_card], label: restricted}]
        """,
    ),
    _code(
        "LP302",
        "invalid regular expression",
        """Patterns are RE2: they run in linear time on any text, and therefore know no look-around and no
        back-references, and repeat at most 1,000 times. Single quotes keep backslashes as they are.""",
        """
        when: {prompt: '(?!draft) report'}
        """,
        """
        when: {prompt: '(?i)\\breport\\b'}
        """,
    ),
    _code(
        "LP303",
        "a rule or a name that can never do anything",
        """Nothing that is configured can be chosen through it: its targets have no deployment, or the rule says nothing
        to do. It is kept, and has no effect.""",
        """
        pipeline:
          cost:
            - {name: cheap, when: {tokens_in: {lt: 4000}}}
        """,
        """
        pipeline:
          cost:
            - {name: cheap, when: {tokens_in: {lt: 4000}}, rank_by: price}
        """,
    ),
    _code(
        "LP304",
        "a limit smaller than one request",
        """The provider may use fewer tokens in a minute than one of its models takes in a single request. A request that
        long would wait for a minute with enough room, and none has: it fails, or goes elsewhere. Told as a warning,
        since shorter requests pass.""",
        """
        providers:
          lab:
            preset: openai-compatible
            endpoint: "http://10.0.0.7:8000/v1"
            limits: {tokens_per_minute: 20_000}
            models: [{id: qwen3-32b, context_window: 32_768}]
        """,
        """
        providers:
          lab:
            preset: openai-compatible
            endpoint: "http://10.0.0.7:8000/v1"
            limits: {tokens_per_minute: 20_000}
            models: [{id: qwen3-32b, context_window: 16_384}]
        """,
    ),
    _code(
        "LP401",
        "a request can get where it must not",
        """Before rules come into force, every request that they can tell apart is tried, under every name, with any of the
        providers down and after every failure. One was found that gets where `assert` says that none can, or past the
        fence itself. The note `path` shows it: what it says, its label, the rules that apply, who fails, and who is
        asked then. A claim or a pattern protects only from requests that make or match it.""",
        """
        pipeline:
          privacy: [{name: hr stays home, when: {project: hr, has: [files]}, require: {zone: [local]}}]
        assert:
          - never: {project: hr, reaches: {zone: external}}
        """,
        """
        pipeline:
          privacy: [{name: hr stays home, when: {project: hr}, require: {zone: [local]}}]
        assert:
          - never: {project: hr, reaches: {zone: external}}
        """,
    ),
    _code(
        "LP402",
        "a privacy rule that rests on what anybody can claim",
        """Project, user, task and label come from headers that any client can send. A privacy rule that only holds when
        the client says so protects nobody from a client that says nothing. Let the strict case be the default.""",
        """
        pipeline:
          privacy:
            - {name: hr stays home, when: {project: hr}, require: {zone: [local]}}
        """,
        """
        privacy:
          default_label: confidential
          clearance: {external: internal}
        """,
    ),
    _code(
        "LP403",
        "an assertion that cannot be decided",
        """There are more kinds of requests to tell apart than can be tried when the files are loaded. Every pattern, every
        word of `has`, every kind of data and every value of a claim that a narrowing rule names multiplies them. What
        cannot be shown is not taken for granted. Merge patterns that lead to the same action, or let `label` gather
        them and one rule act on it.""",
        """
        pipeline:
          privacy:
            - {name: word 1, when: {prompt: apple}, require: {zone: [local]}}
            - {name: word 2, when: {prompt: pear}, require: {zone: [local]}}   # and so on, a rule for each of 30 words
        assert:
          - never: {project: hr, reaches: {zone: external}}
        """,
        """
        pipeline:
          privacy:
            - {name: words, when: {prompt: 'apple|pear'}, require: {zone: [local]}}
        assert:
          - never: {project: hr, reaches: {zone: external}}
        """,
    ),
    _code(
        "LP501",
        "no price, but a rule or a budget goes by price",
        """A rule or a budget goes by price, and this deployment has none: neither in the provider file nor in the catalogue.
        Where rules rank by price it sorts behind every deployment whose price is known. `max_cost` and budgets of money
        never let it be asked, since nobody could say what it costs.""",
        """
        # providers.yaml
        providers: {lab: {preset: openai-compatible, endpoint: "https://llm.example.net/v1", models: [our-model]}}
        # routing.yaml
        pipeline: {cost: [{name: cheapest first, rank_by: price}]}
        """,
        """
        # providers.yaml
        providers:
          lab:
            preset: openai-compatible
            endpoint: "https://llm.example.net/v1"
            models: [{id: our-model, price: {input: 0.20, output: 1.20}}]
        """,
    ),
    _code(
        "LP601",
        "a credential or file is not found",
        """${cred:name} is looked for in $CREDENTIALS_DIRECTORY (where systemd puts credentials) and then in the
        directory `credentials` beside the provider file; ${file:/path} is read as it stands. It is missing, empty, too
        large, or may not be read.""",
        """
        providers:
          openai: {api_key: "${cred:openai_key}"}      # and credentials/ holds openai-key
        """,
        """
        providers:
          openai: {api_key: "${cred:openai-key}"}
        """,
    ),
    _code(
        "LP602",
        "a credential is written in the file",
        """Whoever can read the file, its backups or its history can use the key. A reference keeps it out, and lets it
        change without touching the file.""",
        """
        providers:
          openai: {api_key: <the key itself>}
        """,
        """
        providers:
          openai: {api_key: "${env:OPENAI_API_KEY}"}
        """,
    ),
    _code(
        "LP603",
        "others may read a file that holds a credential",
        "The file holds a literal credential, or is one, and its mode lets every user of the machine read it.",
        """
        $ ls -l /etc/llmproxyd/providers.yaml
        -rw-r--r-- 1 llmproxyd llmproxyd 812 Nov  3 09:12 /etc/llmproxyd/providers.yaml
        """,
        """
        $ chmod 0640 /etc/llmproxyd/providers.yaml
        """,
    ),
    _code(
        "LP604",
        "a provider's key is given twice",
        """A provider has either `api_key`, or `api_keys` where the next key takes over when one is refused. With both,
        nobody could say which comes first; and a key that is listed twice would be refused twice.""",
        """
        providers:
          openai:
            api_key: ${cred:openai}
            api_keys: ["${cred:openai-new}"]
        """,
        """
        providers:
          openai:
            api_keys: ["${cred:openai-new}", "${cred:openai}"]
        """,
    ),
    _code(
        "LP605",
        "a key that is not used any more",
        """Its `until` has come: the first day, in UTC, on which the key is left out. A provider's other keys are used;
        without another one it is not configured. A client that shows such a key is refused; delete the entry when nobody
        does any more.""",
        """
        providers:
          openai:
            api_keys: [{ref: "${cred:openai-new}"}, {ref: "${cred:openai-old}", until: 2020-01-31}]
        """,
        """
        providers:
          openai:
            api_keys: ["${cred:openai-new}"]
        """,
    ),
    _code(
        "LP606",
        "not the hash of a client's key",
        """`keys` of a tenant hold the SHA-256 of each key, so that nobody who reads the file can use one. Clients send the
        key itself. Make the hash with `printf %s KEY | sha256sum`: `echo` would add a line break, and give another
        hash.""",
        """
        tenants:
          acme: {keys: [<the key itself>]}
        """,
        """
        tenants:
          acme: {keys: ["sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21"]}
        """,
    ),
    _code(
        "LP607",
        "a client's key is listed twice",
        """Who asks is known by the key alone. A key of two tenants would let each use what the other may, and nobody could
        say whose request it was.""",
        """
        tenants:
          acme: {keys: ["sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21"]}
          globex: {keys: ["sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21"]}
        """,
        """
        tenants:
          acme: {keys: ["sha256:5ca24005b740717ba4f3f6bc48a230700e68c2a4b11ecedb96f169f4efaf1f21"]}
          globex: {keys: ["sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"]}
        """,
    ),
    _code(
        "LP701",
        "the version is left out",
        """A file without `version` is read as version 1. Written down, a later release knows what the file meant when it
        was written.""",
        """
        providers:
          openai: {}
        """,
        """
        version: 1
        providers:
          openai: {}
        """,
    ),
    _code(
        "LP702",
        "a version that this release does not know",
        "The file is written for another release, and reading it as this one's could give it another meaning.",
        """
        version: 2
        """,
        """
        version: 1
        """,
    ),
)

CODES: Final[Mapping[str, Code]] = MappingProxyType({code.code: code for code in _ALL})
