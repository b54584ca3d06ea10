"""A copy of the source in which faults are planted."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.privacy.mutations import Mutation

ROOT = Path(__file__).resolve().parents[2]
_PARTS = ("llmproxyd", "tests", "schemas", "pyproject.toml", "providers.yaml", "routing.yaml")
_RUN_S = 110


class Copy:
    """The copy lies in ``root``, which is made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        for part in _PARTS:
            if (ROOT / part).is_dir():
                leave_out = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / part, root / part, ignore=leave_out)
            else:
                shutil.copy(ROOT / part, root / part)

    @contextmanager
    def planted(self, path: str, text: str, instead: str) -> Iterator[None]:
        """``text``, which stands once in the package's module ``path``, is ``instead`` meanwhile."""
        module = self.root / "llmproxyd" / path
        source = module.read_text()
        assert source.count(text) == 1, f"{path} has it {source.count(text)} times: {text}"
        module.write_text(source.replace(text, instead))
        try:
            yield
        finally:
            module.write_text(source)

    async def notices(self, mutation: Mutation) -> str:
        """What finds the fault; empty if nothing does."""
        with self.planted(mutation.path, mutation.text, mutation.instead):
            return await self.complaint(mutation.noticed_by)

    async def complaint(self, files: Collection[str]) -> str:
        """What fails: a check of the shipped files, where the fence is proved, or one of these tests."""
        if await self._run("-m", "llmproxyd", "check", "--config-dir", "."):
            return "llmproxyd check"
        named = [f"tests/{path}" for path in files]
        return await self._run("-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *named)

    async def _run(self, *arguments: str) -> str:
        """What a run that failed says of it; empty for one that did not."""
        # Modules are written again within a second: nobody may trust the times of compiled ones.
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_RUN_S):
                told, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return f"no end within {_RUN_S} s"
        lines = told.decode().splitlines()
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))] or lines[-1:] or ["?"]
        return failed[0] if process.returncode else ""
