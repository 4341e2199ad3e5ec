"""The models that can be asked for: names, the folders behind them, and the few that are in memory.

A run stands for all its checkpoints, newest first, also those that are written while the server runs. A model is loaded
when it is first asked for; where too many are, the one that was unused for longest makes room.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lm_core.errors import LmCoreError

from lm_generate.engine import Engine
from lm_generate.errors import LmGenerateError, ModelSourceError
from lm_generate.runs import checkpoints
from lm_generate.serving.names import TokenNames
from lm_generate.serving.problems import Problem


@dataclass(eq=False)
class Loaded:
    """A model in memory and how many requests are using it."""

    name: str
    engine: Engine
    users: int = 0
    names: TokenNames = field(init=False)

    def __post_init__(self) -> None:
        self.names = TokenNames(self.engine.tokenizer)


class Shelf:
    """Names and engines. Belongs to one event loop; `load` (folder -> Engine) runs beside it, in a thread."""

    def __init__(self, sources: Sequence[Path], load: Callable[[Path], Engine], *, most: int) -> None:
        self.sources, self._load, self.most = tuple(sources), load, most
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()  # the longest unused first
        self._lock = asyncio.Lock()
        self.folders()

    def folders(self) -> dict[str, Path]:
        """Every name with its folder, the default first. Raises ModelSourceError where two have one name."""
        found: dict[str, Path] = {}
        for source in self.sources:
            steps = checkpoints(source) if not (source / "config.json").exists() else []
            base = name_of(source)
            for name, folder in [(f"{base}/{step.name}", step) for step in steps] or [(base, source)]:
                if name in found:
                    raise ModelSourceError(
                        f"{found[name]} and {folder} would both be served as {name!r}: rename one of the folders"
                    )
                found[name] = folder
        return found

    @property
    def loaded(self) -> list[str]:
        return list(self._loaded)

    def load_first(self) -> None:
        """Loads the default model, so that a fault is told before anybody asks. Raises what loading raises."""
        name, folder = next(iter(self.folders().items()))
        self._loaded[name] = Loaded(name, self._load(folder))

    @contextlib.asynccontextmanager
    async def use(self, name: str | None) -> AsyncIterator[Loaded]:
        """The model of that name (None: the default), kept in memory until the block ends.

        Raises `Problem`: 404 for a name that there is not, 503 where all places are taken by models that are busy,
        500 where the folder is damaged.
        """
        async with self._lock:  # one is loaded at a time
            model = await self._take(name)
            model.users += 1
        try:
            yield model
        finally:
            model.users -= 1

    async def _take(self, name: str | None) -> Loaded:
        folders = self.folders()
        name = next(iter(folders), None) if name is None else name
        if name is not None and name in self._loaded:
            self._loaded.move_to_end(name)
            return self._loaded[name]
        if name is None or name not in folders:
            known = ", ".join(list(folders)[:10]) + (" ..." if len(folders) > 10 else "")
            raise Problem(
                404,
                f"there is no model {str(name)[:100]!r}; there are: {known}",
                param="model",
                code="model_not_found",
            )
        if len(self._loaded) >= self.most:
            idle = next((other.name for other in self._loaded.values() if other.users == 0), None)
            if idle is None:
                raise Problem(
                    503,
                    f"{self.most} models are in memory and all are busy: come again, or ask for one of them",
                    retry_after=5,
                )
            del self._loaded[idle]
        try:
            engine = await asyncio.to_thread(self._load, folders[name])
        except (LmGenerateError, LmCoreError, OSError) as error:
            raise Problem(500, f"the model {name!r} cannot be loaded: {error}") from error
        self._loaded[name] = Loaded(name, engine)
        return self._loaded[name]


def name_of(folder: Path) -> str:
    """`stdlib-1/step-00000163` for a checkpoint of a run, the folder's name otherwise."""
    folder = folder.resolve()
    if folder.parent.name == "checkpoints":
        return f"{folder.parent.parent.name}/{folder.name}"
    return folder.name
