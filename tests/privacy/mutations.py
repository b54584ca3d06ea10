"""Faults that could be made in the fence, one for each line somebody might get wrong, and who has to notice.

Each is a few lines of the source and what stands there instead: at least two for every way out. ``test_mutations`` plants
them, one at a time, in a copy.
"""

from __future__ import annotations

from dataclasses import dataclass

WAYS = (
    "first try", "retry", "fallback", "hedge", "continuation", "conversation", "probe", "look-up", "cache", "async",
    "log", "ledger", "error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutation:
    """``text``, which stands once in ``path`` below the package, becomes ``instead``. ``noticed_by``: below ``tests``."""

    name: str
    way: str
    path: str
    text: str
    instead: str
    noticed_by: tuple[str, ...]


_ROUTING = ("routing/test_privacy.py",)
_RULES = ("routing/test_decide.py",)
_MASKS = ("routing/test_masking.py",)
_MODEL = ("privacy/test_model.py",)
_WAYS_OUT = ("privacy/test_ways_out.py",)
_BINDING = ("server/test_binding.py",)
_SCANNING = ("server/test_scanning.py",)
_DOOR = ("exchange/test_upstream.py",)
_CANARIES = ("privacy/test_canaries.py",)
_SIEVE = ("test_sieve.py",)
_LEAVE = ("values/test_clearance.py",)
_CACHE = ("cache/test_key.py", "cache/test_policy.py")

MUTATIONS = (
    # --- first try
    Mutation(
        "the fence drops nobody", "first try", "routing/privacy.py",
        "cleared = [o for o in options if o.clearance >= rank]",
        "cleared = list(options)",
        _ROUTING,
    ),
    Mutation(
        "one label too many is let through", "first try", "values/clearance.py",
        "if label_rank > allowed:",
        "if label_rank > allowed + 1:",
        _LEAVE,
    ),
    Mutation(
        "who is asked for by name is trusted", "first try", "routing/decide.py",
        "options = drop_uncleared(options, facts, routes, dropped, mask)",
        "options = options if shortlist.explicit else drop_uncleared(options, facts, routes, dropped, mask)",
        _ROUTING,
    ),
    Mutation(
        "a claim lowers the label", "first try", "routing/privacy.py",
        "    if rank > facts.label_rank:\n        facts.label_rank",
        "    if rank != facts.label_rank:\n        facts.label_rank",
        _ROUTING,
    ),
    Mutation(
        "a claim is not heard", "first try", "routing/privacy.py",
        "    _raise(facts, rank, routes)\n    return None",
        "    return None",
        _ROUTING,
    ),
    Mutation(
        "an unknown label means none", "first try", "routing/privacy.py",
        "        return _unknown_label(LABEL_HEADER, routes)\n",
        "        return None\n",
        _ROUTING,
    ),
    Mutation(
        "everybody may lower a label", "first try", "server/binding.py",
        "if key is None or not key.may_lower:",
        "if key is None:",
        _BINDING,
    ),
    Mutation(
        "a label is lowered below what its key is bound to", "first try", "routing/privacy.py",
        "rank = max(routes.label_ranks[lowered], _bound_rank(facts.question))",
        "rank = routes.label_ranks[lowered]",
        _BINDING,
    ),
    Mutation(
        "a key's label is forgotten", "first try", "server/binding.py",
        "if key is not None and key.label is not None:",
        "if key is not None and key.label is not None and tenant is None:",
        _BINDING,
    ),
    Mutation(
        "a masked copy forgets what its key is bound to", "first try", "routing/privacy.py",
        "        _bound_rank(question),\n",
        "",
        _MASKS,
    ),
    Mutation(
        "a masked copy is shown whatever the rules' label", "first try", "routing/privacy.py",
        "        *(rule.label for rule in matched if rule.label is not None),\n",
        "",
        _MASKS,
    ),
    Mutation(
        "a detector that failed has found nothing", "first try", "routing/privacy.py",
        "    if scan.failed is not None:\n        yield",
        "    if scan.failed == '':\n        yield",
        _SCANNING,
    ),
    Mutation(
        "a detector that hangs has found nothing", "first try", "server/scanning.py",
        'scan = Scan(failed="a detector does not come back")',
        "scan = Scan()",
        _SCANNING,
    ),
    Mutation(
        "what nobody could read passes", "first try", "routing/privacy.py",
        "for kind in sorted(scan.unscanned):",
        "for kind in ():",
        _SCANNING,
    ),
    Mutation(
        "nobody looks where all may see something", "first try", "server/scanning.py",
        "provider.clearance < highest",
        "provider.clearance < 1",
        _SCANNING,
    ),
    Mutation(
        "the door demands nothing", "first try", "exchange/upstream.py",
        "        require(clearance, deployment)\n",
        "",
        _DOOR,
    ),
    # --- retry
    Mutation(
        "the second time all is shown", "retry", "exchange/attempts.py",
        "if candidate.masked:",
        "if candidate.masked and len(self.log) == len({a.candidate for a in self.log}):",
        _WAYS_OUT,
    ),
    Mutation(
        "the door knows the provider already", "retry", "exchange/upstream.py",
        "        require(clearance, deployment)\n",
        "        if _pool_key(deployment.provider) not in self._pools:\n            require(clearance, deployment)\n",
        _DOOR,
    ),
    # --- fallback
    Mutation(
        "another model has not heard the claim", "fallback", "routing/across.py",
        "_narrowed(others, question, routes), question, routes",
        "_narrowed(others, question, routes), replace(question, label=None), routes",
        _MODEL,
    ),
    Mutation(
        "another model has not seen the findings", "fallback", "routing/across.py",
        "_narrowed(others, question, routes), question, routes",
        "_narrowed(others, question, routes), replace(question, scan=type(question.scan)()), routes",
        _MODEL,
    ),
    Mutation(
        "another model is not judged", "fallback", "routing/across.py",
        "    return decide_among(_narrowed(others, question, routes), question, routes, readings).candidates",
        "    leave = plan.candidates[0].clearance\n"
        "    return tuple(Candidate(o.deployment, clearance=leave) for o in others)",
        _MODEL,
    ),
    Mutation(
        "leave for one is leave for all", "fallback", "values/clearance.py",
        "if clearance.deployment != deployment.key:",
        "if not deployment.key:",
        _DOOR,
    ),
    Mutation(
        "privacy's word on fallback is one among others", "fallback", "routing/decide.py",
        "        if rule.fallback_final:\n            return rule.fallback\n",
        "",
        _RULES,
    ),
    # --- hedge
    Mutation(
        "who is asked beside sees all", "hedge", "exchange/attempts.py",
        "if candidate.masked:",
        "if candidate.masked and not self.open:",
        _WAYS_OUT,
    ),
    Mutation(
        "privacy's word on hedging is one among others", "hedge", "routing/decide.py",
        "final = any(rule.hedge_final for rule in speaking)",
        "final = False",
        _RULES,
    ),
    Mutation(
        "without fallback there is a hedge", "hedge", "routing/fallback.py",
        "policy.hedge is None or not policy.on or",
        "policy.hedge is None or",
        ("routing/test_fallback.py",),
    ),
    # --- continuation
    Mutation(
        "who goes on sees all", "continuation", "exchange/attempts.py",
        "if candidate.masked:",
        "if candidate.masked and self.seam is None:",
        _WAYS_OUT,
    ),
    Mutation(
        "privacy's word on going on is one among others", "continuation", "routing/decide.py",
        "if not speaking or any(rule.continues_final for rule in speaking):",
        "if not speaking:",
        _RULES,
    ),
    Mutation(
        "a value that is left over is not looked for", "continuation", "exchange/masked.py",
        "if any(map(book.shows, _texts_of(call, request))):",
        "if not call.url:",
        ("exchange/test_masked.py",),
    ),
    # --- conversation
    Mutation(
        "a lowered label is that of all that goes on from it", "conversation", "server/intake.py",
        "        return plan.lowered_from\n",
        "        return plan.label\n",
        _BINDING,
    ),
    Mutation(
        "a conversation forgets its label", "conversation", "server/responses.py",
        "                labels.append(found.label)\n",
        "                pass\n",
        _WAYS_OUT,
    ),
    Mutation(
        "a conversation is kept as if nothing had been said of it", "conversation", "server/intake.py",
        "if by_findings else plan.label",
        "if by_findings or plan.label else plan.label",
        _WAYS_OUT,
    ),
    # --- probe
    Mutation(
        "a probe may have a body", "probe", "values/clearance.py",
        'if call.method != "GET" or call.body or call.stream:',
        "if call.stream:",
        _LEAVE,
    ),
    Mutation(
        "a probe may go anywhere", "probe", "values/clearance.py",
        "if _place(call.url) != _place(provider.base_url):",
        "if not provider.base_url:",
        _LEAVE,
    ),
    Mutation(
        "any probe will do", "probe", "exchange/upstream.py",
        "if not isinstance(probe, ConstantCall) or probe.provider != provider.identity:",
        "if not isinstance(probe, ConstantCall):",
        _DOOR,
    ),
    # --- look-up
    Mutation(
        "the name is looked up before the door is asked", "look-up", "exchange/upstream.py",
        "        require(clearance, deployment)\n        provider = deployment.provider\n",
        "        provider = deployment.provider\n"
        "        if self._lookup is not None:\n"
        '            await self._lookup.resolve(provider.base_url.split("/")[2])\n'
        "        require(clearance, deployment)\n",
        _DOOR,
    ),
    Mutation(
        "names are looked up ahead, also of those who were dropped", "look-up", "exchange/run.py",
        "        self._means.retries.request(self._clock())\n",
        "        for each in self._attempts.plan.dropped:\n"
        '            name = each.deployment.provider.base_url.split("/")[2].partition(":")[0]\n'
        "            await asyncio.get_running_loop().getaddrinfo(name, 443)\n"
        "        self._means.retries.request(self._clock())\n",
        ("privacy/test_one_gate.py",),
    ),
    # --- cache
    Mutation(
        "all labels share kept answers", "cache", "cache/key.py",
        "        _bytes(plan.label),\n",
        "",
        _CACHE,
    ),
    Mutation(
        "all tenants share kept answers", "cache", "cache/key.py",
        'return ("tenant", tenant)',
        'return ("tenant", "")',
        _CACHE,
    ),
    Mutation(
        "whatever is kept goes to disk", "cache", "cache/policy.py",
        "persist=plan.label_rank <= rules.kept_on_disk",
        "persist=plan.label_rank >= 0",
        _CACHE,
    ),
    Mutation(
        "a rule's word against keeping is not heard", "cache", "cache/policy.py",
        "if name in rules.off_rules",
        "if name not in plan.rules",
        _CACHE,
    ),
    # --- async
    Mutation(
        "later the label is forgotten", "async", "server/errand.py",
        "name in asked or name.startswith(_OURS)",
        "name in asked or name == _PRIORITY",
        _WAYS_OUT,
    ),
    Mutation(
        "later nobody looks", "async", "server/detached.py",
        "        await self._intake.look(visit, request)\n",
        "",
        _WAYS_OUT,
    ),
    Mutation(
        "later the conversation's label is forgotten", "async", "server/errand.py",
        "inherited=inherited,",
        "inherited=None,",
        _WAYS_OUT,
    ),
    # --- log
    Mutation(
        "a provider's words on the request are logged", "log", "exchange/quotes.py",
        "else replace(failure, detail=_sign(failure, call))",
        "else replace(failure, detail=failure.said)",
        _CANARIES,
    ),
    Mutation(
        "a provider's code is trusted", "log", "exchange/quotes.py",
        "return wanted.encode() not in sent and wanted not in call.url.lower()",
        "return True",
        ("exchange/test_quotes.py",),
    ),
    Mutation(
        "a wire's words are logged", "log", "exchange/wire_faults.py",
        "if isinstance(cause, _QUOTING):",
        "if isinstance(cause, ()):",
        _CANARIES,
    ),
    Mutation(
        "our message about a request is logged", "log", "values/failure.py",
        "if self.kind in _QUOTING:",
        "if self.kind in ():",
        ("server/test_exchange_log.py",),
    ),
    Mutation(
        "an exception's words are logged", "log", "sieve.py",
        "    yield name_of(error)",
        "    yield repr(error)",
        _SIEVE,
    ),
    Mutation(
        "a library's words are logged", "log", "sieve.py",
        "return next((known for known in _KNOWN if text.startswith(known)), _UNKNOWN)",
        "return text",
        _SIEVE,
    ),
    Mutation(
        "a deleted job stays in the log beside its file", "async", "state/jobs.py",
        "wal_checkpoint(TRUNCATE)",
        "wal_checkpoint(PASSIVE)",
        ("state/test_jobs.py",),
    ),
    Mutation(
        "a finding between two characters is believed", "first try", "detect/engine.py",
        "whole = type(finding.start) is type(finding.end) is int",
        "whole = True",
        ("detect/test_engine.py",),
    ),
    Mutation(
        "a detector's own words are logged", "log", "detect/engine.py",
        'return str(error) if isinstance(error, _Nonsense) else "see its tests"',
        "return str(error)",
        ("detect/test_engine.py",),
    ),
    Mutation(
        "the user that a body names is logged", "log", "server/exchange_log.py",
        'fields["bytes_in"] = len(record.request.body)',
        'fields["bytes_in"] = len(record.request.body)\n        fields["user"] = record.request.document.get("user")',
        _WAYS_OUT,
    ),
    # --- ledger
    Mutation(
        "the ledger notes who a body names", "ledger", "exchange/books.py",
        "task=record.task,",
        'task=record.task or str(request.document.get("user", "")),',
        _WAYS_OUT,
    ),
    Mutation(
        "the ledger notes what the provider said", "ledger", "exchange/books.py",
        "failure=None if failure is None else failure.kind.value,",
        "failure=None if failure is None else f'{failure.kind.value} {failure.message}',",
        _WAYS_OUT,
    ),
    Mutation(
        "the ledger compares with who may not see it", "ledger", "ledger/compare.py",
        "one.provider.clearance >= needed",
        "one.provider.clearance >= 0",
        ("ledger/test_compare.py",),
    ),
    # --- error
    Mutation(
        "a refusal tells what a key is bound to", "error", "server/binding.py",
        "raise ExchangeFailed(_conflict(name))",
        'raise ExchangeFailed(_conflict(f"{name}, {bound},"))',
        _BINDING,
    ),
    Mutation(
        "a client is told what is the operator's", "error", "surfaces/openai_failure.py",
        '{"message": failure.message,',
        '{"message": failure.message + failure.detail,',
        ("surfaces/test_openai_failure.py",),
    ),
    Mutation(
        "a bug's own words are told", "error", "server/intake.py",
        "detail=type(bug).__name__",
        "detail=repr(bug)",
        ("server/test_handler.py",),
    ),
)  # fmt: skip
