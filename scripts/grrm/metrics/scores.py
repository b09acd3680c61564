"""The scores of several systems on the same test sets, as a document in which every number has its origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from grrm.files import UserError, read_jsonl, sha256
from grrm.metrics.bootstrap import Bootstrap, Resampled, Stratum, average, over_runs
from grrm.schemas import read_table


@dataclass(frozen=True)
class Metric:
    """One metric of one system on one part of its answers.

    Attributes:
        runs: one stratum per run, all on the same segments.
        signature: how the metric is computed.
        missing: answers that the metric itself could not score (a judge that failed); they are left out.
    """

    runs: Sequence[Stratum]
    signature: str
    missing: int = 0


@dataclass(frozen=True)
class Part:
    """Answers that are scored together: those to one test set in one language direction.

    Attributes:
        test_set: its name.
        direction: such as zh-en; empty where directions are not told apart.
        n: segments or groups.
        failures: reason of each answer that could not be used, over all runs.
        metrics: by name.
        referenced: whether there are references; a mean of what needs them is over the parts that have some.
    """

    test_set: str
    direction: str
    n: int
    failures: Sequence[str]
    metrics: Mapping[str, Metric]
    referenced: bool = True


@dataclass(frozen=True)
class System:
    """One model's answers, scored.

    Attributes:
        name: short name, unique in a document.
        origin: what made the answers: model and decoding.
        seeds: of the runs; as many as there are runs.
        parts: the same parts in the same order for every system of a document.
        details: further entries of the system in the document.
    """

    name: str
    origin: Mapping[str, Any]
    seeds: Sequence[int]
    parts: Sequence[Part]
    details: Mapping[str, Any] = field(default_factory=dict)


# A metric of a part, in all resamples.
Resamples = Mapping[str, Resampled]


def scores_document(
    task: str,
    test_table: str | Path,
    systems: Sequence[System],
    bootstrap: Bootstrap,
    means: Mapping[str, Sequence[str]] | None = None,
    also: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Scores of all systems with intervals, and the difference of each system to the first one, in pairs.

    A score over several parts is their unweighted mean, given where each of them has the metric, or each that
    has references. A score over several runs is their mean. An interval speaks of the choice of segments,
    `std` of the runs.

    Args:
        task: `ranking` or `translation`.
        test_table: the table that the systems answered.
        systems: scored on the same segments; the first is the baseline.
        bootstrap: how the intervals are made.
        means: by name, test sets whose scores are averaged; they stand in `by_set` beside single sets.
        also: names of two systems each, whose differences are given too, after those to the first one.
    """
    baseline, *others = systems
    compared = [*((baseline.name, other.name) for other in others), *also]
    means = means or {}
    selections = _selections(baseline.parts, means)
    resampled = {system.name: _resample(system, bootstrap) for system in systems}
    return {
        "task": task,
        "data": {"file": str(test_table), "sha256": sha256(test_table), "n": _size(baseline.parts)},
        "bootstrap": asdict(bootstrap),
        "systems": [
            _system(system, selections, means, resampled[system.name], bootstrap) for system in systems
        ],
        "differences": [
            {
                "baseline": before,
                "system": after,
                **_compared(baseline.parts, resampled[before], resampled[after], selections, bootstrap),
            }
            for before, after in compared
        ],
    }


def _system(
    system: System,
    selections: Mapping[str, Sequence[int]],
    means: Mapping[str, Sequence[str]],
    resampled: Sequence[Resamples],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """A system's scores on everything, on each set and for each mean."""
    return {
        "name": system.name,
        **system.origin,
        "seeds": list(system.seeds),
        **_scores(system, range(len(system.parts)), resampled, bootstrap),
        "by_set": {
            name: {
                **({"mean_of": list(means[name])} if name in means else {}),
                **_directions(system, members, resampled, bootstrap),
                **_scores(system, members, resampled, bootstrap),
            }
            for name, members in selections.items()
        },
        **system.details,
    }


def _compared(
    parts: Sequence[Part],
    before: Sequence[Resamples],
    after: Sequence[Resamples],
    selections: Mapping[str, Sequence[int]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Differences on everything, on each set and of each mean."""
    return {
        "metrics": _differences(parts, before, after, range(len(before)), bootstrap),
        "by_set": {
            name: {"metrics": _differences(parts, before, after, members, bootstrap)}
            for name, members in selections.items()
        },
    }


def _selections(parts: Sequence[Part], means: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Parts of each test set, and of each mean over several."""
    selections: dict[str, list[int]] = {}
    for i, part in enumerate(parts):
        selections.setdefault(part.test_set, []).append(i)
    for name, sets in means.items():
        if name in selections:
            raise UserError(f"the mean {name!r} has the name of a test set: give it another one")
        if unknown := [test_set for test_set in sets if test_set not in selections]:
            raise UserError(
                f"the mean {name!r} is over {', '.join(unknown)}; the table has {', '.join(selections)}"
            )
        selections[name] = [i for test_set in sets for i in selections[test_set]]
    return selections


def _resample(system: System, bootstrap: Bootstrap) -> list[Resamples]:
    """Each metric of each part; a stream for each part, so that parts are resampled apart."""
    return [
        dict(
            zip(
                part.metrics,
                bootstrap.resample([over_runs(metric.runs) for metric in part.metrics.values()], stream),
                strict=True,
            )
        )
        for stream, part in enumerate(system.parts)
    ]


def _scores(
    system: System, members: Sequence[int], resampled: Sequence[Resamples], bootstrap: Bootstrap
) -> dict[str, Any]:
    parts = [system.parts[i] for i in members]
    failures = Counter(reason for part in parts for reason in part.failures)
    n = _size(parts)
    return {
        "n": n,
        "failures": {
            "count": failures.total(),
            "rate": failures.total() / (n * len(system.seeds)),
            "reasons": dict(failures.most_common()),
        },
        "metrics": {
            name: {
                **asdict(bootstrap.interval(average([resampled[i][name] for i in having]))),
                **_over_runs([system.parts[i].metrics[name].runs for i in having]),
                **_missing(sum(system.parts[i].metrics[name].missing for i in having)),
                "signature": " + ".join(
                    dict.fromkeys(system.parts[i].metrics[name].signature for i in having)
                ),
            }
            for name, having in _shared(system.parts, resampled, members).items()
        },
    }


def _differences(
    parts: Sequence[Part],
    before: Sequence[Resamples],
    after: Sequence[Resamples],
    members: Sequence[int],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    metrics = {}
    for name, having in _shared(parts, after, members).items():
        if all(name in before[i] for i in having):
            gains = [after[i][name] - before[i][name] for i in having]
            if any(gain.too_few for gain in gains):
                continue  # of what counts in both there are hardly any pairs
            difference = average(gains)
            metrics[name] = {
                **asdict(bootstrap.interval(difference)),
                "p_value": bootstrap.p_value(difference),
            }
    return metrics


def _directions(
    system: System, members: Sequence[int], resampled: Sequence[Resamples], bootstrap: Bootstrap
) -> dict[str, Any]:
    """The directions of a test set, and their scores where there are several."""
    directions = {i: system.parts[i].direction for i in members if system.parts[i].direction}
    if len({system.parts[i].test_set for i in members}) > 1 or len(directions) < 2:
        return {}
    return {
        "directions": {
            direction: _scores(system, [i], resampled, bootstrap) for i, direction in directions.items()
        }
    }


def _shared(
    parts: Sequence[Part], resampled: Sequence[Resamples], members: Sequence[int]
) -> dict[str, list[int]]:
    """Metrics that every part with references has, or every part where none has any; with those parts."""
    needed = [i for i in members if parts[i].referenced] or members
    return {
        name: [i for i in members if name in resampled[i]]
        for name in resampled[needed[0]]
        if all(name in resampled[i] for i in needed)
    }


def _over_runs(parts: Sequence[Sequence[Stratum]]) -> dict[str, Any]:
    """Score of each run, and their standard deviation (of a sample: n - 1); None for one run."""
    values = [fmean(stratum.value for stratum in run) for run in zip(*parts, strict=True)]
    return {"runs": values, "std": stdev(values) if len(values) > 1 else None}


def _missing(count: int) -> dict[str, int]:
    return {"missing": count} if count else {}


def _size(parts: Sequence[Part]) -> int:
    return sum(part.n for part in parts)


def parse_named_files(arguments: Sequence[str], flag: str) -> dict[str, Path]:
    """NAME=FILE arguments as a mapping, in the order given.

    Raises:
        UserError: an argument is not of that form, or a name is given twice.
    """
    files: dict[str, Path] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise UserError(f"{flag} {argument}: expected NAME=FILE")
        if name in files:
            raise UserError(f"{flag} {argument}: the name {name!r} is given twice")
        files[name] = Path(path)
    return files


def parse_named_lists(arguments: Sequence[str], flag: str) -> dict[str, list[str]]:
    """NAME=VALUE,VALUE... arguments as a mapping, in the order given.

    Raises:
        UserError: as `parse_named_files`.
    """
    return {name: str(values).split(",") for name, values in parse_named_files(arguments, flag).items()}


def read_answers(
    path: str | Path, sources: Sequence[str], test_table: str | Path
) -> list[list[dict[str, Any]]]:
    """Answers to a test table: for each run one per row, in the order of the table.

    Lines may stand in any order; a line without `run` belongs to run 0.

    Raises:
        UserError: an answer is missing or too many, or answers another source text.
    """
    runs: dict[int, dict[int, dict[str, Any]]] = {}
    for number, answer in enumerate(read_jsonl(path), 1):
        index = answer.get("index") if isinstance(answer, dict) else None
        run = answer.get("run", 0) if isinstance(answer, dict) else None
        if (
            type(index) is not int
            or not 0 <= index < len(sources)
            or answer.get("src_text") != sources[index]
        ):
            raise UserError(
                f"{path}, line {number}: not an answer to row {index} of {test_table}; answer it again"
            )
        if type(run) is not int or index in runs.setdefault(run, {}):
            raise UserError(f"{path}, line {number}: run {run!r} has a second answer to row {index}")
        runs[run][index] = answer
    for run in range(max(len(runs), 1)):
        if (found := len(runs.get(run, {}))) != len(sources):
            raise UserError(
                f"{path}: {found} answers for {len(sources)} rows of {test_table} in run {run}; answer again"
            )
    return [[runs[run][index] for index in range(len(sources))] for run in range(len(runs))]


def answers_origin(path: str | Path, runs: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Model and decoding of answers, which must be the same on every line but for the seed of a run.

    Raises:
        UserError: they are missing or differ.
    """
    first = runs[0][0]
    origin = {key: first.get(key) for key in ("model", "weights", "decoding")}
    for answers in runs:
        for answer in answers:
            if any(
                value is None or _unseeded(answer.get(key)) != _unseeded(value)
                for key, value in origin.items()
            ):
                raise UserError(
                    f"{path}, row {answer['index']}, run {answer.get('run', 0)}: model, weights or decoding "
                    "is missing or not that of the first row"
                )
    return origin


def answers_seeds(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[int]:
    """Seed of each run; that of the decoding where a line has none of its own."""
    return [int(answers[0].get("seed", answers[0]["decoding"]["seed"])) for answers in runs]


def split_parts(
    rows: Sequence[Mapping[str, Any]], test_table: str | Path, directions: bool
) -> dict[tuple[str, str], list[int]]:
    """Rows of each test set, and of each language direction if these are told apart.

    Args:
        rows: of a test table; a table without the column test_set is one set with the name of its file.
        test_table: the file.
        directions: whether directions are told apart.

    Returns:
        (test set, direction or "") -> row numbers; sets in the order of the table, directions in that of the
        alphabet.
    """
    parts: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        test_set = row.get("test_set") or Path(test_table).stem
        direction = f"{row['src_lang']}-{row['trg_lang']}" if directions else ""
        parts.setdefault((test_set, direction), []).append(number)
    order = {test_set: i for i, (test_set, _) in enumerate(parts)}
    return dict(sorted(parts.items(), key=lambda part: (order[part[0][0]], part[0][1])))


def read_test_table(path: str | Path, schema: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a test table with some columns, and with test_set and references where the table has them.

    Raises:
        UserError: the table does not fit the schema.
    """
    table = read_table(path, schema)
    extra = [name for name in ("test_set", "references") if name in table.column_names]
    rows: list[dict[str, Any]] = table.select([*columns, *extra]).to_pylist()
    return rows


def _unseeded(value: Any) -> Any:
    return {key: part for key, part in value.items() if key != "seed"} if isinstance(value, dict) else value
