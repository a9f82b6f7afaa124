"""``--engine ray``: the shards of a stage are done by the workers of a Ray cluster, by Ray Data.

Settings and shards go there as JSON, and parts of bytes come back in a column of Arrow; a worker imports semctl itself
and is told the name of a function in it. (How Ray moves these among its processes is Ray's: it pickles the name of the
function in :func:`_answer` and keeps what waits in shared memory.) What comes back is used in the order of the shards.

The cluster is that of ``RAY_ADDRESS``, which is joined and left; or one on this machine, started with the first shards
and stopped at the end, however that comes. It sends no usage statistics.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import schemas.errors
from pipeline.environment import cores, installed_version, variables_set
from schemas.engine import Engine, OpenEngine, no_engine
from schemas.errors import MissingPartError, SemctlError, ServiceError, UsageError

_ATTEMPTS = 3
"""How often a shard is begun whose worker is killed: that may be the shard's fault."""

_BLOCKS = 1_000
"""Ray's tasks for all shards of a stage, at least where there are as many shards: more cost more than they even out."""

_BLOCK_BYTES = 16 << 20
_STORE_BYTES = 256 << 20  # shared memory for each worker of a cluster of our own


class EngineName(StrEnum):
    """Where shards are done."""

    local = "local"
    ray = "ray"


def find_engine(name: str, jobs: int | None = None) -> OpenEngine:
    """What opens the engine of a name, once everything that it needs is found to be there.

    Args:
        jobs: how many workers at a time; None: as many as there are cores for.

    Raises:
        MissingPartError: the package of the extra ``ray`` is not installed.
        UsageError: an address of a cluster that is not taken.
    """
    if name == EngineName.local:
        return no_engine
    if find_spec("ray") is None:
        raise MissingPartError(
            "--engine ray needs a package that is not installed: ray", fix="pip install 'semctl[ray]'"
        )
    address = os.environ.get("RAY_ADDRESS", "").strip()
    if address.startswith("ray://"):
        raise UsageError(
            "a cluster is joined by a machine of its own, not through ray://",
            where="RAY_ADDRESS",
            fix="run semctl on a machine of the cluster, with RAY_ADDRESS=auto",
        )
    return lambda: closing(RayEngine(jobs, address))


class RayEngine(Engine):
    """A Ray cluster, joined or started when there is something to do."""

    def __init__(self, jobs: int | None = None, address: str = "") -> None:
        self._jobs = jobs
        self._address = address
        self._opened = False
        self._handler: Any = None

    def close(self) -> None:
        """Stop the cluster that was started, or leave the one that was joined; one that was there before stays."""
        if self._opened:
            import ray

            self._opened = False
            ray.shutdown()
            with suppress(ValueError):  # not the main thread, where Ray sets none
                signal.signal(signal.SIGTERM, self._handler)

    def map(
        self,
        maker: str,
        setting: Any,
        shards: Sequence[Any],
        *,
        needs: Sequence[Path] = (),
        cores: int = 1,
        gpu: bool = False,
    ) -> Iterator[list[bytes]]:
        if not shards:
            return
        self._open()
        import ray
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is raised
        if gpu and not ray.cluster_resources().get("GPU"):
            fix = "set CUDA_VISIBLE_DEVICES= to nothing, so that all compute on CPUs"
            raise UsageError("this process computes on a GPU, and the Ray cluster has none", fix=fix)
        nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        cores = max(1, min(cores, max(nodes, default=1)))
        workers = self._jobs or max(1, sum(n // cores for n in nodes))
        known = {
            "maker": maker,
            "setting": setting,
            "needs": [str(path) for path in needs],
            "folder": os.getcwd(),
            "semctl": _version(),
        }
        rows = [{"shard": n, "work": json.dumps(shard).encode()} for n, shard in enumerate(shards)]
        more = {"known": ray.put(json.dumps(known).encode()), "attempts": ray.remote(num_cpus=0)(_Attempts).remote()}
        with _settings_of_ray_data(), _told_as_ours():
            blocks = min(len(rows), max(_BLOCKS, 20 * workers))
            answers = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
                _answer,
                fn_kwargs=more,
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.TaskPoolStrategy(size=min(workers, blocks)),
                num_cpus=cores,
                num_gpus=1 if gpu else 0,
            )
            expected = 0
            for table in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for row in table.to_pylist():
                    if row["shard"] != expected:
                        raise RuntimeError(f"Ray Data gave shard {row['shard']} in the place of {expected}")
                    expected += 1
                    if row["problem"]:
                        raise _problem(json.loads(row["problem"]))
                    yield row["parts"]
            if expected != len(shards):
                raise RuntimeError(f"Ray Data gave {expected} of {len(shards)} shards")

    def _open(self) -> None:
        # before Ray is imported, which reads some of these then
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # who takes no GPU sees none
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # it would print to stdout that a worker was killed
        import ray

        if ray.is_initialized():  # by whoever called us
            return
        with suppress(ValueError):
            self._handler = signal.getsignal(signal.SIGTERM)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        try:
            if self._address:
                ray.init(self._address, **quiet)
            else:
                here = self._jobs or cores()
                memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
                store = max(100 << 20, min(_STORE_BYTES * (here + 1), memory * 3 // 10))
                root = str(Path(__file__).resolve().parents[1])
                path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
                with variables_set({"PYTHONPATH": path}):
                    ray.init("local", num_cpus=here, include_dashboard=False, object_store_memory=store, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as problem:
            what = f"cannot join the Ray cluster of RAY_ADDRESS ({_said(problem)})"
            fix = "see `ray status` there; Ray and Python have to be of the same version on all machines"
            if not self._address:
                what, fix = f"cannot start a Ray cluster ({_said(problem)})", "leave --engine out to work without"
            raise ServiceError(what, where=self._address or None, fix=fix) from None
        finally:
            self._opened = ray.is_initialized()


class _Attempts:
    """Counts, for all workers, how often a shard was begun."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, shard: int) -> int:
        self._begun[shard] = self._begun.get(shard, 0) + 1
        return self._begun[shard]


_doing: dict[str, Callable[[Any], Sequence[Any]]] = {}
"""In a worker: what does shards, by the id of what it was made of."""


def _answer(batch: Any, *, known: Any, attempts: Any) -> Any:
    """In a worker: one shard, as a row of one."""
    import pyarrow as pa
    import ray

    (shard,) = batch["shard"].to_pylist()
    parts: Sequence[Any] = ()
    problem = None
    try:
        if ray.get(attempts.begin.remote(shard)) > _ATTEMPTS:
            raise ServiceError(
                f"the Ray worker of one shard was killed {_ATTEMPTS} times",
                fix="if memory was short, give each worker more of it (fewer with --jobs, larger machines)",
            )
        name = known.hex()
        if name not in _doing:
            _doing[name] = _made(json.loads(ray.get(known)))
        parts = _doing[name](json.loads(batch["work"][0].as_py()))
    except SemctlError as raised:
        kind = next(each for each in type(raised).__mro__ if each.__module__ == schemas.errors.__name__)
        problem = {"kind": kind.__name__, "what": raised.what, "where": raised.where, "fix": raised.fix}
    except Exception:
        problem = {"bug": traceback.format_exc()}
    columns = {
        "shard": pa.array([shard], pa.int64()),
        "parts": pa.array([[bytes(part) for part in parts]], pa.list_(pa.large_binary())),
        "problem": pa.array([json.dumps(problem) if problem else ""], pa.large_string()),
    }
    return pa.table(columns)


def _made(known: Mapping[str, Any]) -> Callable[[Any], Sequence[Any]]:
    if known["semctl"] != _version():
        raise UsageError(
            f"semctl {_version()} is on {platform.node()}, a machine of the Ray cluster, and {known['semctl']} here",
            fix="install the same version on all",
        )
    with suppress(OSError):
        os.chdir(known["folder"])
    for path in known["needs"]:
        if not Path(path).exists():
            raise UsageError(
                f"{platform.node()}, a machine of the Ray cluster, does not see a file or folder that is needed",
                where=Path(known["folder"]) / path,
                fix="keep corpus, workspace and conversations under the same path on a disk that all machines share",
            )
    made: Callable[[Any], Sequence[Any]] = resolve_name(known["maker"])(known["setting"])
    return made


def _problem(told: Mapping[str, Any]) -> Exception:
    if "bug" in told:
        return RuntimeError(f"in a Ray worker:\n{told['bug']}")
    kind: type[SemctlError] = getattr(schemas.errors, told["kind"])
    return kind(told["what"], where=told["where"], fix=told["fix"])


@contextmanager
def _settings_of_ray_data() -> Iterator[None]:
    """Ray Data as it is needed here, and as it was before afterwards."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before = (context.execution_options.preserve_order, context.enable_progress_bars, context.target_max_block_size)
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK_BYTES
    try:
        yield
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars, context.target_max_block_size = before


@contextmanager
def _told_as_ours() -> Iterator[None]:
    """Ray's own errors as one of ours."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as problem:
        raise ServiceError(
            f"the Ray cluster gave up ({_said(problem)})",
            fix="see that the same semctl is installed on all its machines, and Ray's logs",
        ) from None


def _said(problem: BaseException) -> str:
    """The last line of what an error says."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(problem).__name__


def _version() -> str:
    return installed_version("semctl") or "(not installed)"
