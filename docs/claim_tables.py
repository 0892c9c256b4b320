"""The tables of the documents that are made from stored results: one function per table."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from claim_baselines import baselines
from claim_collection import calibration_rows, open_set_rows, store_rows, whole_rows
from claim_small_batches import COLUMNS, small_batch_means, small_batch_rows
from claim_study import (
    backbone_agreement,
    backbone_study,
    backbone_variance,
    cub_finetuned_agreement_rows,
    cub_finetuned_other_rows,
    cub_finetuned_rows,
    cub_finetuned_tuning_rows,
    cub_repetition_rows,
    post_processing_table,
    setting_rows,
    study,
    study_agreement,
    study_contributions,
    study_head,
    study_predictors,
    study_rows,
    study_variance,
)
from claim_targets import read, targets

from pairlens.model.cost import profile as model_cost

# These names change with the packages; keep them in one block.
from pairlens.model.embedder import Architecture

EPOCH_METRICS = ("R@1", "P@8", "MAP@R", "s_p", "s_n")
LOSS_NAMES = {"triplet": "triplet", "circle": "circle", "softtriple": "SoftTriple"}
# Parameters in millions and multiply-adds in GMACs that leftthomas/CGD publishes, by backbone and number of classes.
PUBLISHED = {
    ("resnet50", 98): "26.86M, 10.64G",
    ("resnet50", 11_318): "49.85M, 10.69G",
    ("resnet50", 3_997): "34.85M, 10.66G",
    ("resnext50", 98): "26.33M, 10.84G",
    ("resnext50", 11_318): "49.32M",
    ("resnext50", 3_997): "34.32M",
}


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cub_study() -> str:
    """R@1 and MAP@R of every loss of the study of CUB-200-2011, beside the baselines."""
    return markdown(study_head(study()), study_rows(study()))


def cub_backbones() -> str:
    """R@1 and MAP@R of twelve losses behind three frozen backbones, beside the baselines."""
    return markdown(study_head(backbone_study()), study_rows(backbone_study()))


def cub_post_processing() -> str:
    """What post-processing gains on trained runs of the frozen study."""
    return markdown(*post_processing_table())


def cub_repetition() -> str:
    """How far two processors agree on the study of CUB-200-2011."""
    head = ("made twice", "losses", "seeds", "Spearman", "median difference", "greatest difference", "circle - triplet")
    return markdown(head, cub_repetition_rows())


def cub_finetuned() -> str:
    """R@1 and MAP@R of every loss that fine-tuned a network on CUB-200-2011, beside MAP@R behind the frozen backbone."""
    head = (
        "fine-tuned, %",
        "runs",
        "R@1",
        "MAP@R",
        "its standard deviation",
        "MAP@R - triplet, paired over seeds",
        "frozen",
    )
    return markdown(head, cub_finetuned_rows())


def cub_finetuned_others() -> str:
    """R@1 and MAP@R of fine-tuning with the auxiliary loss, and of fine-tuning on the half of CARS196."""
    head = (
        "fine-tuned, %",
        "CUB with the auxiliary loss: runs",
        "R@1",
        "MAP@R",
        "MAP@R - without it, paired over seeds",
        "CARS196 half: runs",
        "R@1",
        "MAP@R",
        "MAP@R - triplet, paired over seeds",
    )
    return markdown(head, cub_finetuned_other_rows())


def cub_finetuned_tuning() -> str:
    """Settings that successive halving tried with the whole network trained."""
    return markdown(("trial", "settings", "MAP@R % on each fold", "mean", ""), cub_finetuned_tuning_rows())


def cub_finetuned_agreement() -> str:
    """Whether the fine-tuned network ranks the losses as other benchmarks do."""
    return markdown(("fine-tuned on", "and", "losses", "Spearman"), cub_finetuned_agreement_rows())


def freed_memory() -> str:
    """How much faster a network is that does not wait for the system to clear freed memory."""
    rows = [
        (
            _freed_memory_names(name),
            f"{row['as it comes']['ms']:.0f}",
            f"{row['kept']['ms']:.0f}",
            f"{row['speed']:.2f} ({min(row['speeds']):.2f} to {max(row['speeds']):.2f})",
            f"{row['kept']['peak_mib'] / row['as it comes']['peak_mib']:.2f}",
        )
        for name, row in read("freed_memory.json")["results"].items()
    ]
    return markdown(("", "ms, C library as it comes", "ms, memory kept", "times as fast", "peak memory, ratio"), rows)


def _freed_memory_names(name: str) -> str:
    kind, *rest = name.split(" ")
    return f"training step, batch of 64, {rest[0]}" if kind == "step" else f"embedding {rest[0]} photos of {rest[2]} px"


def waiting_threads() -> str:
    """How fast a network is by how soon a thread that waits sleeps."""
    rows = read("waiting_threads.json")["rows"]
    counts = next(iter(rows.values()))
    return markdown(
        ("looks before a thread sleeps", *map(_waiting_names, rows)),
        [
            (f"{count} (300,000)" if count == "default" else f"{int(count):,}", *_waiting(rows, count))
            for count in counts
        ],
    )


def _waiting_names(title: str) -> str:
    work, _, where = title.partition(", ")
    return f"{'a training step' if work.startswith('step') else 'one photo embedded'}, {where}"


def _waiting(rows: Mapping[str, Any], count: str) -> Iterator[str]:
    for row in rows.values():
        speeds = row[count]["ms, times as fast"]
        speed = "" if count == "default" else f" ({min(speeds):.2f} to {max(speeds):.2f} times as fast)"
        milliseconds = row[count]["ms"]
        yield f"{milliseconds:,.{1 if milliseconds < 100 else 0}f} ms{speed}"


def cub_settings() -> str:
    """The settings that tuning chose for every loss of the study."""
    return markdown(("loss", "with its settings", "rates"), setting_rows())


def audit_own() -> str:
    """The losses of Pairlens that fail a check of the audit."""
    failed = [
        (f"`{name}`", f"**{check}**: {found['evidence']}")
        for name, record in read("audit.json")["pairlens"].items()
        for check, found in record.items()
        if found["verdict"] == "fail"
    ]
    return markdown(("loss", "failed check"), failed)


def audit_pml() -> str:
    """Every loss of pytorch-metric-learning, the checks that it fails, and how it grows with the batch."""
    rows = []
    for name, record in read("audit.json")["pytorch-metric-learning"].items():
        if "error" in record:
            rows.append((f"`{name}`", f"the audit cannot call it: {' '.join(record['error'].split())}", ""))
            continue
        failed = [f"**{check}**: {found['evidence']}" for check, found in record.items() if found["verdict"] == "fail"]
        growth = record["growth"]["evidence"].partition("grows as ")[2]
        rows.append((f"`{name}`", " ".join("; ".join(failed).split()) or "none", growth))
    return markdown(("loss", "failed checks", "growth: computation, memory"), rows)


def photos() -> str:
    """CPU time per photo of loading and preparing, beside the historical pipeline."""
    names = {
        "train 224 standard": "training batch, 224 px, `standard`",
        "train 224 random_resized_crop": "training batch, 224 px, `random_resized_crop`",
        "train 128 standard": "training batch, 128 px, `standard`",
        "train 64 standard": "training batch, 64 px, `standard`",
        "test 224": "test batch, 224 px",
        "test 128": "test batch, 128 px",
        "test 64": "test batch, 64 px",
        "prepare 252": "`prepare` to 252 px",
        "prepare 72": "`prepare` to 72 px",
    }
    stored = read("photos.json")
    results = stored["loading"]["results"] | stored["preparing"]["results"]
    rows = [
        (name, f"{r['ours_ms']:.2f}", f"{r['peer_ms']:.2f}", f"{r['ratio']:.2f}", f"{r['lowest_ratio']:.2f}")
        for key, name in names.items()
        for r in [results[key]]
    ]
    return markdown(("", "Pairlens, ms", "historical, ms", "ratio", "lowest of the turns"), rows)


def start_time() -> str:
    """CPU seconds until a command answers, beside those of importing PyTorch."""
    rows = [
        # A document must name no command that does not exist.
        (
            "a misspelt command" if name == "pairlens trian" else f"`{name}`",
            *(f"{row[key]:.2f}" for key in ("before", "now", "ratio")),
        )
        for name, row in read("start_time.json")["results"].items()
    ]
    return markdown(("process", "0.1.0, s", "now, s", "now / `import torch`"), rows)


def starting() -> str:
    """How long the first batch of an epoch takes, and how much memory."""
    rows = [
        (name, *(f"{row[key]:.0f} ms" for key in ("first_ms", "second_ms")), f"{row['taken_mb']:.1f} MB")
        for name, row in read("photos.json")["starting"]["results"].items()
    ]
    return markdown(("data set", "first epoch", "later epochs", "memory"), rows)


def step_speed() -> str:
    """Photos per second of a training step, beside the plain loop."""
    stored = read("step.json")
    others = {name: row for name, row in stored["speed of other backbones"].items() if name != "about"}
    rows = []
    for name, row in {stored["speed"]["what"]: stored["speed"], **others}.items():
        speeds = row["photos a second"].values()
        ratios = (f"{row[f'{key} / plain']:.2f}" for key in ("float32", "ours"))
        rows.append((name, *map(_speed, speeds), *ratios))
    head = ("", "plain loop", "float32", "bfloat16, BatchNorm separate", "bfloat16")
    return markdown((*head, "float32 / plain", "bfloat16 / plain"), rows)


def cpu_step() -> str:
    """Photos per second of a step of EfficientNet-Lite0 on a CPU, beside the plain loop."""
    stored = read("cpu_step.json")
    ratios = (stored["ratio to the plain loop"], stored["ratio to before"])
    rows = [
        (name, _speed(rate), *(f"{ratio[name]:.2f}" for ratio in ratios))
        for name, rate in stored["photos a second"].items()
        if not name.startswith("forward")
    ]
    return markdown(("", "photos/s", "/ plain loop", "/ before, float32"), rows)


def step_ideas() -> str:
    """What was tried to make a step of EfficientNet-Lite0 faster on a CPU, beside the step as it is."""
    stored = read("step_ideas.json")
    rates, ratios = stored["photos a second"], stored["ratio"]
    rows = [
        (
            tried.strip() or "as it is",
            *(
                f"{_speed(rates[precision + rest])} ({ratios[precision + rest]:.2f} ×)"
                for precision in ("float32", "bfloat16")
            ),
        )
        for name in rates
        if name.startswith("float32")
        for rest in (name.removeprefix("float32"),)
        for tried in (rest.removeprefix(","),)
    ]
    return markdown(("photos/s", "float32", "bfloat16"), rows)


def _speed(photos_per_second: float) -> str:
    decimals = 2 if photos_per_second < 10 else 1 if photos_per_second < 100 else 0
    return f"{photos_per_second:,.{decimals}f}"


def step_curve() -> str:
    """R@1 after every epoch in float32 and in bfloat16, over seeds."""
    curves = read("step_curve.json")["R@1 of every epoch"]
    rows = []
    for precision, seeds in curves.items():
        epochs = [[100 * value for value in values] for values in zip(*seeds, strict=True)]
        rows.append((precision, *(f"{statistics.mean(e):.1f} ± {statistics.stdev(e):.1f}" for e in epochs)))
    return markdown((f"mean ± standard deviation, {len(seeds)} seeds", "before training", "1", "2", "3"), rows)


def step_memory() -> str:
    """Peak memory of a large batch in micro batches and at once."""
    peaks = read("step.json")["memory"]["peaks"]
    names = {
        "micro batch": "a batch of 64",
        "large batch, in micro batches": "1,024 in micro batches of 64",
        "large batch, at once": "1,024 at once",
    }
    base = peaks["micro batch"]
    rows = [
        (
            name,
            *(f"{row[k] / 1e6:,.0f} MB ({row[k] / base[k]:.2f} ×)" for k in ("peak", "step")),
            f"{row['seconds']:.0f}",
        )
        for key, name in names.items()
        for row in [peaks[key]]
    ]
    return markdown(("", "peak of the process", "added by the step", "processor s"), rows)


def search() -> str:
    """Every metric of 60,502 photos beside FAISS's exact search alone."""
    measured = read("evaluation.json")["search"]["measured"]
    names = {
        "faiss": "FAISS alone, 14 neighbours",
        "ours": "all metrics, K = 1, 2, 4, 8",
        "faiss_deep": "FAISS alone, 1,001 neighbours",
        "ours_deep": "all metrics, K = 1, 10, 100, 1000",
    }
    rows = []
    for key, name in names.items():
        row, alone = measured[key], measured["faiss_deep" if key.endswith("_deep") else "faiss"]
        ratio = f"{row['seconds'] / alone['seconds']:.2f}"
        rows.append((name, f"{row['seconds']:.1f}", f"{row['megabytes']:.0f} MB", ratio))
    return markdown(("", "s", "memory above the embeddings", "time / FAISS alone"), rows)


def peer_metrics() -> str:
    """The same metrics by Pairlens, by FAISS's search alone and by pytorch-metric-learning."""
    stored = read("evaluation.json")["peer"]
    names = {
        "ours_r": "Pairlens",
        "faiss_r": "FAISS's search alone",
        "pml": "pytorch-metric-learning, k = max_bin_count",
        "pml_default": "pytorch-metric-learning, k = None (its default)",
    }
    rows = []
    for key, name in names.items():
        cells = []
        for size in ("10000", "60502"):
            row = stored[size]["measured"].get(key)
            ratio = stored[size]["to_ours"].get(key, {"seconds": 1})["seconds"]
            cells += (
                [f"{row['seconds']:.2f}", f"{ratio:.1f} ×", f"{row['megabytes']:,.0f} MB"] if row else ["not run"] * 3
            )
        rows.append((name, *cells))
    return markdown(("", *(f"{n}: {what}" for n in ("10,000", "60,502") for what in ("s", "time", "memory"))), rows)


def growth() -> str:
    """Time and memory of all metrics for more and more photos."""
    rows = [
        (f"{int(size):,}", f"{row['seconds']:.1f}", f"{row['megabytes']:.0f} MB")
        for size, row in read("evaluation.json")["growth"]["sizes"].items()
    ]
    return markdown(("photos", "s", "memory above the embeddings"), rows)


def embedding() -> str:
    """Photos per second of embedding a data set, beside the bare forward pass."""
    rows = []
    for name, row in read("embedding.json").items():
        speeds = (_speed(row[key]) for key in ("embed_images_a_second", "bare_images_a_second"))
        turns = f"{100 * min(row['shares']):.1f} to {100 * max(row['shares']):.1f} %"
        rows.append((f"{name} px", *speeds, f"{100 * row['share']:.1f} %", turns))
    return markdown(("", "photos/s", "bare forward pass", "share", "lowest and highest turn"), rows)


def packed_convolution() -> str:
    """Milliseconds of forward passes with and without packed convolutions."""
    rows = []
    for name, row in read("packed_convolution.json")["rows"].items():
        network, threads, photos = name.split("; ")
        turns = f"{row['ratio']:.2f} × ({row['least']:.2f} to {row['greatest']:.2f})"
        count = photos.removeprefix("photos ")
        rows.append(
            (network, threads.split()[0], count, *(f"{row[key]:.1f}" for key in ("plain_ms", "packed_ms")), turns)
        )
    return markdown(("", "threads", "photos", "before, ms", "packed, ms", "times as fast"), rows)


def approximate() -> str:
    """Build time, search time and recall of the approximate indexes."""
    stored = read("evaluation.json")["approximate"]
    head = ["index"]
    for space in ("noise in all 128 dimensions", "noise in 16 dimensions"):
        head += [f"{space}: build, s", "search, s", "recall"]
    rows = []
    for index in ("exact", "ivf", "hnsw"):
        cells = []
        for directions in ("all", "16"):
            values = stored[directions][index]["values"]
            cells += [
                f"{values['build_seconds']:.1f}",
                f"{values['search_seconds']:.2f}",
                f"{100 * values['recall']:.0f} %",
            ]
        rows.append((f"`{index}`", *cells))
    return markdown(head, rows)


def _run_row(name: str, values: dict[str, list[float]]) -> tuple[str, ...]:
    cells = []
    for metric in EPOCH_METRICS:
        seeds = values.get(metric, [])
        spread = f" ± {statistics.stdev(seeds):.3f}" if len(seeds) > 1 else ""
        cells.append(f"{statistics.mean(seeds):.3f}{spread}" if seeds else "")
    return (name, *cells)


def _runs(first: str, *studies: tuple[str, str]) -> str:
    """Return the table of some studies: one row per baseline, one row per loss and study."""
    stored = read("real_runs.json")["results"]
    reference = stored[f"{studies[0][0]}-triplet"]
    # Results of earlier versions lack the backbone as it comes.
    rows = [_run_row(name, values) for name, values in reference.get("baseline", {}).items()]
    rows.append(_run_row(first, reference["epochs"][0]))
    for one, note in studies:
        rows += [_run_row(name + note, stored[f"{one}-{loss}"]["epochs"][-1]) for loss, name in LOSS_NAMES.items()]
    return markdown(("", "R@1", "P@8", "MAP@R", "mean s_p", "mean s_n"), rows)


def omniglot() -> str:
    """Three losses on Omniglot from scratch."""
    return _runs("before training", ("omniglot", ""))


def omniglot_epochs() -> str:
    """The same runs after every epoch."""
    stored = read("real_runs.json")["results"]
    curves = {name: stored[f"omniglot-{loss}"]["epochs"] for loss, name in LOSS_NAMES.items()}
    rows = []
    for epoch in range(len(curves["circle"])):
        rows.append(
            (
                str(epoch),
                *(" / ".join(f"{statistics.mean(c[epoch][m]):.3f}" for m in EPOCH_METRICS) for c in curves.values()),
            )
        )
    return markdown(("epoch", *curves), rows)


def tiny_scratch() -> str:
    """Three losses on Tiny ImageNet from scratch."""
    return _runs("before training", ("tiny-scratch", ""))


def tiny_pretrained() -> str:
    """Three losses on Tiny ImageNet from ImageNet weights, at two learning rates."""
    return _runs("before training", ("tiny-lite0", ", 5e-4"), ("tiny-lite0-gentle", ", 5e-5"))


def birds() -> str:
    """Three losses on ten bird species from ImageNet weights, at two learning rates."""
    return _runs("before training", ("birds-lite0", ", 5e-4"), ("birds-lite0-gentle", ", 5e-5"))


def demo() -> str:
    """The demonstration, one row per loss and seed."""
    seeds = read("demo.json")["seeds"]
    rows = []
    # Results of earlier versions lack the backbone as it comes.
    for name in ("pretrained backbone", "before training", "circle", "triplet"):
        for seed, row in seeds.items() if name in seeds["0"] else ():
            label = f"{name}{' + auxiliary' if name in LOSS_NAMES else ''}, seed {seed}"
            rows.append((label, *(f"{value:.1f}" for value in row[name].values())))
    return markdown(("minicars, 48 unseen models", *seeds["0"]["circle"]), rows)


def rounding() -> str:
    """How far rounding alone moves R@1 of the demonstration."""
    names = {"folded": "BatchNorm fused into the convolutions", "apart": "BatchNorm as separate layers"}
    stored = read("rounding.json")
    rows = []
    for key, name in names.items():
        values = [100 * value for value in stored[key]["R@1"]]
        spread = f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
        rows.append((name, spread, f"{min(values):.1f}", f"{max(values):.1f}"))
    return markdown(("", "mean ± standard deviation", "lowest", "highest"), rows)


def every_loss() -> str:
    """R@1 of every loss after a short training, highest first."""
    stored = read("every_loss.json")
    ranked = sorted(stored["R@1"].items(), key=lambda pair: -pair[1])
    rows = [(f"`{name}`", f"{value:.1f}") for name, value in ranked]
    third = -(-len(rows) // 3)
    columns = [rows[i * third : (i + 1) * third] for i in range(3)]
    lines = [
        [cell for column in columns for cell in (column[i] if i < len(column) else ("", ""))] for i in range(third)
    ]
    return markdown(("loss", "R@1") * 3, lines)


def model_costs() -> str:
    """Parameters and multiply-adds of CGD, with the published ones."""
    rows = []
    for backbone, name in (("resnet50", "ResNet-50"), ("resnext50", "ResNeXt-50")):
        cells = []
        for classes in (98, 11_318, 3_997):
            cost = model_cost(Architecture(backbone, "SG", 1536, classes, "port", 224))
            ours = f"{cost.parameters / 1e6:.2f}M, {cost.multiply_adds / 1e9:.2f} GMACs"
            cells.append(f"{ours} ({PUBLISHED[backbone, classes]})")
        rows.append((name, *cells))
    return markdown(("", "98 classes", "11,318 classes", "3,997 classes"), rows)


def small_batches() -> str:
    """How many times faster than pytorch-metric-learning each loss is in small batches."""
    heads = ("loss", *(f"{kind}, {size}" for kind, size in COLUMNS))
    return markdown(heads, small_batch_rows() + small_batch_means())


def collection() -> str:
    """The bars of the store of a collection, and what was measured."""
    return markdown(("what", "bar", "measured", ""), store_rows())


def collection_verbs() -> str:
    """The bars of indexing, searching and recovering with photos, and what was measured."""
    return markdown(("what", "bar", "measured", ""), whole_rows())


def calibration() -> str:
    """The measured false accept rates of calibrations on classes that they have not seen."""
    heads = ("data, model", "asked rate", "mean rate", "covered by the interval", "mean interval")
    return markdown((*heads, "true queries accepted", "of the cosine's", "calibration error"), calibration_rows())


def open_set() -> str:
    """The open-set measures of calibrated scores."""
    heads = ("data, model", "AUROC (cosine)", "BAKS (cosine at the same BAUS)", "BAUS", "OPIS")
    return markdown(heads, open_set_rows())


TABLES: dict[str, Callable[[], str]] = {
    table.__name__: table
    for table in (
        audit_own,
        audit_pml,
        targets,
        photos,
        start_time,
        starting,
        step_speed,
        cpu_step,
        step_ideas,
        step_curve,
        step_memory,
        search,
        peer_metrics,
        growth,
        embedding,
        packed_convolution,
        small_batches,
        collection,
        collection_verbs,
        calibration,
        open_set,
        approximate,
        omniglot,
        omniglot_epochs,
        tiny_scratch,
        tiny_pretrained,
        birds,
        baselines,
        demo,
        rounding,
        every_loss,
        model_costs,
        cub_study,
        cub_settings,
        cub_backbones,
        cub_post_processing,
        backbone_variance,
        backbone_agreement,
        cub_repetition,
        cub_finetuned,
        cub_finetuned_others,
        cub_finetuned_tuning,
        cub_finetuned_agreement,
        freed_memory,
        waiting_threads,
        study_contributions,
        study_variance,
        study_agreement,
        study_predictors,
    )
}
