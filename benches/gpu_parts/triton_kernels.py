"""Triton kernels of the losses over all pairs of a batch, tile by tile: no matrix over pairs is ever in memory.

Every kernel computes the cosine similarities of a tile of (row, column) photos from their unit vectors, uses them and
forgets them. Two logits describe a loss: with the constants SCALE, CENTER and OPTIMUM of a side, l = SCALE (s - CENTER),
and for circle loss l = SCALE α (s - CENTER), where α is the distance of s from OPTIMUM, at least 0 and constant in the
gradient.

What is kept for each photo is a column of `anchors`, a (row, photo) matrix with the rows that are numbered below.
With TRITON_INTERPRET=1 in the environment before this module is imported, the kernels run on the CPU.
"""

# Constants of compilation are written in capitals, as in Triton's own kernels, and each is an argument of its own.
# ruff: noqa: N803, PLR0913, SIM108

import triton
import triton.language as tl

# The rows of `anchors`: what the kernels know of each photo as an anchor.
LOG_SUM_P = tl.constexpr(0)  # log Σ exp l over its positives that count
LOG_SUM_N = tl.constexpr(1)  # the same over its negatives
FACTOR_P = tl.constexpr(2)  # factor of the softmax (of the sigmoid with RATIO) in dL/dl of its positives
FACTOR_N = tl.constexpr(3)  # factor of the softmax in dL/dl of its negatives
OFFSET_P = tl.constexpr(4)  # what is subtracted from dL/dl of its positives
LIMIT_P = tl.constexpr(5)  # only positives whose similarity is below this count
LIMIT_N = tl.constexpr(6)  # only negatives whose similarity is above this count
ANCHOR_ROWS = 7
# The logit of a pair that does not exist, as in pairlens.losses.reductions.
ABSENT = tl.constexpr(-1e30)


@triton.jit
def similarity_tile(units, rows, columns, photos, dim, DEPTH: tl.constexpr, PRECISION: tl.constexpr):
    """Return the (row, column) cosine similarities of photos from (photo, dim) unit vectors."""
    total = tl.zeros((rows.shape[0], columns.shape[0]), dtype=units.dtype.element_ty)
    for start in range(0, dim, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        left = load_vectors(units, rows, depth, photos, dim)
        right = load_vectors(units, columns, depth, photos, dim)
        total = tl.dot(left, tl.trans(right), total, input_precision=PRECISION, out_dtype=total.dtype)
    return total


@triton.jit
def load_vectors(units, photo, depth, photos, dim):
    """Return the (photo, depth) part of (photo, dim) vectors; 0 outside."""
    # 64 bits, because the position in a large batch does not fit into 32.
    places = photo.to(tl.int64)[:, None] * dim + depth[None, :]
    return tl.load(units + places, mask=(photo[:, None] < photos) & (depth[None, :] < dim), other=0.0)


@triton.jit
def pair_masks(labels, rows, columns, photos):
    """Return which (row, column) pairs are positive, and which are negative; a photo is no pair with itself."""
    row_labels = tl.load(labels + rows, mask=rows < photos, other=0)
    column_labels = tl.load(labels + columns, mask=columns < photos, other=0)
    same = row_labels[:, None] == column_labels[None, :]
    inside = (rows[:, None] < photos) & (columns[None, :] < photos)
    return inside & same & (rows[:, None] != columns[None, :]), inside & (same == 0)


@triton.jit
def logits(similarity, SCALE: tl.constexpr, CENTER: tl.constexpr, OPTIMUM: tl.constexpr, CIRCLE: tl.constexpr):
    """Return the logits of a side and their derivatives by the similarity."""
    if CIRCLE:
        if SCALE > 0:
            slope = SCALE * tl.maximum(similarity - OPTIMUM, 0.0)
        else:
            slope = SCALE * tl.maximum(OPTIMUM - similarity, 0.0)
    else:
        slope = tl.zeros_like(similarity) + SCALE
    return slope * (similarity - CENTER), slope


@triton.jit
def read_anchors(anchors, ROW: tl.constexpr, photo, photos):
    """Return a row of `anchors` for some photos; 0 outside."""
    return tl.load(anchors + ROW * photos + photo, mask=photo < photos, other=0.0)


@triton.jit
def add_to_log_sum(highest, total, logit, present):
    """Return the highest logit and the sum of exp(logit - highest) of each row, with a tile more."""
    higher = tl.maximum(highest, tl.max(tl.where(present, logit, ABSENT), axis=1))
    shifted = tl.where(present, logit - higher[:, None], ABSENT)
    return higher, total * tl.exp(highest - higher) + tl.sum(tl.exp(shifted), axis=1)


@triton.jit
def log_sum(highest, total):
    """Return log Σ exp; ABSENT of a row without a logit."""
    return tl.where(total > 0, highest + tl.log(tl.where(total > 0, total, 1.0)), ABSENT)


@triton.jit
def softmax(logit, log_sum):
    """Return exp(logit - log_sum), at most 1: above that are only rounding and logits that the log-sum does not count."""
    return tl.exp(tl.minimum(logit - log_sum, 0.0))


@triton.jit
def sigmoid(logit):
    """Return 1 / (1 + exp(-logit)); exp of a negative absolute value cannot overflow."""
    small = tl.exp(-tl.abs(logit))
    return tl.where(logit > 0, 1.0, small) / (1.0 + small)


@triton.jit
def extremes_kernel(
    units,
    labels,
    lowest_positive,
    highest_negative,
    photos,
    dim,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the lowest similarity of the positives and the highest of the negatives of each photo; ∓ABSENT without any."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lowest = tl.zeros((ROWS,), dtype=units.dtype.element_ty) - ABSENT
    highest = tl.zeros((ROWS,), dtype=units.dtype.element_ty) + ABSENT
    for start in range(0, photos, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        similarity = similarity_tile(units, rows, columns, photos, dim, DEPTH, PRECISION)
        positive, negative = pair_masks(labels, rows, columns, photos)
        lowest = tl.minimum(lowest, tl.min(tl.where(positive, similarity, -ABSENT), axis=1))
        highest = tl.maximum(highest, tl.max(tl.where(negative, similarity, ABSENT), axis=1))
    tl.store(lowest_positive + rows, lowest, mask=rows < photos)
    tl.store(highest_negative + rows, highest, mask=rows < photos)


@triton.jit
def sums_kernel(
    units,
    labels,
    anchors,
    counts_p,
    counts_n,
    totals_p,
    photos,
    dim,
    SCALE_P: tl.constexpr,
    CENTER_P: tl.constexpr,
    OPTIMUM_P: tl.constexpr,
    SCALE_N: tl.constexpr,
    CENTER_N: tl.constexpr,
    OPTIMUM_N: tl.constexpr,
    CIRCLE: tl.constexpr,
    MINED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write LOG_SUM_P and LOG_SUM_N of each photo, how many positives and negatives it has, and Σ l of its positives.

    With MINED the two log-sums are over the pairs within LIMIT_P and LIMIT_N.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    nothing = tl.zeros((ROWS,), dtype=units.dtype.element_ty)
    highest_p, sum_p, highest_n, sum_n = nothing + ABSENT, nothing, nothing + ABSENT, nothing
    count_p, count_n, total_p = nothing, nothing, nothing
    for start in range(0, photos, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        similarity = similarity_tile(units, rows, columns, photos, dim, DEPTH, PRECISION)
        positive, negative = pair_masks(labels, rows, columns, photos)
        logit_p, _ = logits(similarity, SCALE_P, CENTER_P, OPTIMUM_P, CIRCLE)
        logit_n, _ = logits(similarity, SCALE_N, CENTER_N, OPTIMUM_N, CIRCLE)
        count_p += tl.sum(positive.to(nothing.dtype), axis=1)
        count_n += tl.sum(negative.to(nothing.dtype), axis=1)
        total_p += tl.sum(tl.where(positive, logit_p, 0.0), axis=1)
        if MINED:
            positive = positive & (similarity < read_anchors(anchors, LIMIT_P, rows, photos)[:, None])
            negative = negative & (similarity > read_anchors(anchors, LIMIT_N, rows, photos)[:, None])
        highest_p, sum_p = add_to_log_sum(highest_p, sum_p, logit_p, positive)
        highest_n, sum_n = add_to_log_sum(highest_n, sum_n, logit_n, negative)
    tl.store(anchors + LOG_SUM_P * photos + rows, log_sum(highest_p, sum_p), mask=rows < photos)
    tl.store(anchors + LOG_SUM_N * photos + rows, log_sum(highest_n, sum_n), mask=rows < photos)
    tl.store(counts_p + rows, count_p, mask=rows < photos)
    tl.store(counts_n + rows, count_n, mask=rows < photos)
    tl.store(totals_p + rows, total_p, mask=rows < photos)


@triton.jit
def ratios_kernel(
    units,
    labels,
    anchors,
    losses,
    shares,
    photos,
    dim,
    SCALE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write, of each photo, Σ_p log(1 + exp(LOG_SUM_N - l_p)) and Σ_p sigmoid(LOG_SUM_N - l_p) with l = SCALE s."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    log_sum_n = read_anchors(anchors, LOG_SUM_N, rows, photos)
    loss = tl.zeros((ROWS,), dtype=units.dtype.element_ty)
    share = tl.zeros((ROWS,), dtype=units.dtype.element_ty)
    for start in range(0, photos, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        positive, _ = pair_masks(labels, rows, columns, photos)
        # Where the photos of a class stand together, nearly all tiles have no positive, and their product is not needed.
        if tl.sum(tl.sum(positive.to(tl.int32), axis=1), axis=0) > 0:
            similarity = similarity_tile(units, rows, columns, photos, dim, DEPTH, PRECISION)
            gap = log_sum_n[:, None] - SCALE * similarity
            log1p_exp = tl.maximum(gap, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(gap)))
            loss += tl.sum(tl.where(positive, log1p_exp, 0.0), axis=1)
            share += tl.sum(tl.where(positive, sigmoid(gap), 0.0), axis=1)
    tl.store(losses + rows, loss, mask=rows < photos)
    tl.store(shares + rows, share, mask=rows < photos)


@triton.jit
def derivatives(
    similarity,
    positive,
    negative,
    anchors,
    photo,
    photos,
    AXIS: tl.constexpr,
    SCALE_P: tl.constexpr,
    CENTER_P: tl.constexpr,
    OPTIMUM_P: tl.constexpr,
    SCALE_N: tl.constexpr,
    CENTER_N: tl.constexpr,
    OPTIMUM_N: tl.constexpr,
    CIRCLE: tl.constexpr,
    MINED: tl.constexpr,
    RATIO: tl.constexpr,
):
    """Return dL/ds of the pairs of a tile, whose anchors are its rows (AXIS 1) or its columns (AXIS 0)."""
    logit_p, slope_p = logits(similarity, SCALE_P, CENTER_P, OPTIMUM_P, CIRCLE)
    logit_n, slope_n = logits(similarity, SCALE_N, CENTER_N, OPTIMUM_N, CIRCLE)
    log_sum_n = tl.expand_dims(read_anchors(anchors, LOG_SUM_N, photo, photos), AXIS)
    factor_p = tl.expand_dims(read_anchors(anchors, FACTOR_P, photo, photos), AXIS)
    factor_n = tl.expand_dims(read_anchors(anchors, FACTOR_N, photo, photos), AXIS)
    if RATIO:
        by_logit_p = -factor_p * sigmoid(log_sum_n - logit_p)
    else:
        log_sum_p = tl.expand_dims(read_anchors(anchors, LOG_SUM_P, photo, photos), AXIS)
        offset_p = tl.expand_dims(read_anchors(anchors, OFFSET_P, photo, photos), AXIS)
        by_logit_p = factor_p * softmax(logit_p, log_sum_p) - offset_p
    by_logit_n = factor_n * softmax(logit_n, log_sum_n)
    if MINED:
        positive = positive & (similarity < tl.expand_dims(read_anchors(anchors, LIMIT_P, photo, photos), AXIS))
        negative = negative & (similarity > tl.expand_dims(read_anchors(anchors, LIMIT_N, photo, photos), AXIS))
    return tl.where(positive, by_logit_p * slope_p, 0.0) + tl.where(negative, by_logit_n * slope_n, 0.0)


@triton.jit
def gradient_kernel(
    units,
    labels,
    anchors,
    gradient,
    photos,
    dim,
    SCALE_P: tl.constexpr,
    CENTER_P: tl.constexpr,
    OPTIMUM_P: tl.constexpr,
    SCALE_N: tl.constexpr,
    CENTER_N: tl.constexpr,
    OPTIMUM_N: tl.constexpr,
    CIRCLE: tl.constexpr,
    MINED: tl.constexpr,
    RATIO: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the (photo, dim) gradient of the unit vectors, (G + Gᵀ) E with G = dL/dS; program (·, k) writes k-th WIDTH.

    A row photo gets the gradient of its pairs as an anchor and that of the same pairs with the other photo as the anchor
    at once, so no two programs write to one place.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    place = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros((ROWS, WIDTH), dtype=units.dtype.element_ty)
    for start in range(0, photos, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        similarity = similarity_tile(units, rows, columns, photos, dim, DEPTH, PRECISION)
        positive, negative = pair_masks(labels, rows, columns, photos)
        of_rows = derivatives(
            similarity, positive, negative, anchors, rows, photos, 1,
            SCALE_P, CENTER_P, OPTIMUM_P, SCALE_N, CENTER_N, OPTIMUM_N, CIRCLE, MINED, RATIO,
        )  # fmt: skip
        of_columns = derivatives(
            similarity, positive, negative, anchors, columns, photos, 0,
            SCALE_P, CENTER_P, OPTIMUM_P, SCALE_N, CENTER_N, OPTIMUM_N, CIRCLE, MINED, RATIO,
        )  # fmt: skip
        vectors = load_vectors(units, columns, place, photos, dim)
        pushes = (of_rows + of_columns).to(total.dtype)
        total = tl.dot(pushes, vectors, total, input_precision=PRECISION, out_dtype=total.dtype)
    places = rows.to(tl.int64)[:, None] * dim + place[None, :]
    tl.store(gradient + places, total, mask=(rows[:, None] < photos) & (place[None, :] < dim))
