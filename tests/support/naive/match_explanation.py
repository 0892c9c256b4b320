"""The cosine of two photos divided among their places, place by place and channel by channel."""

import numpy as np


def pooled_parts(channel, letter, power, floor):
    """What each place of one channel (height, width) adds to its pooled value."""
    places = [(y, x) for y in range(channel.shape[0]) for x in range(channel.shape[1])]
    values = [channel[place] for place in places]
    parts = np.zeros_like(channel)
    if letter == "S":
        for place, value in zip(places, values, strict=True):
            parts[place] = value / len(places)
    elif letter == "M":
        winners = [place for place, value in zip(places, values, strict=True) if value == max(values)]
        for place in winners:
            parts[place] = max(values) / len(winners)
    else:
        clamped = [max(value, floor) for value in values]
        pooled = (sum(value**power for value in clamped) / len(places)) ** (1 / power)
        for place, value in zip(places, clamped, strict=True):
            parts[place] = value**power / (len(places) * pooled ** (power - 1))
    return parts


def embedding_parts(features, weights, letters, power, floor):
    """What each place of one photo (channel, height, width) adds to its embedding, (dim, height, width)."""
    whole = []
    for letter, weight in zip(letters, weights, strict=True):
        parts = np.zeros((len(weight), *features.shape[1:]))
        for row in range(len(weight)):
            for channel in range(len(features)):
                parts[row] += weight[row, channel] * pooled_parts(features[channel], letter, power, floor)
        whole.append(parts / np.linalg.norm(parts.sum(axis=(1, 2))))
    joined = np.concatenate(whole)
    return joined / np.linalg.norm(joined.sum(axis=(1, 2)))


def match_maps(features, weights, letters, power, floor):
    """The two maps of two photos (photo, channel, height, width)."""
    first, second = (embedding_parts(photo, weights, letters, power, floor) for photo in features)
    maps = np.zeros((2, *features.shape[2:]))
    for y in range(features.shape[2]):
        for x in range(features.shape[3]):
            maps[0, y, x] = sum(first[d, y, x] * second[d].sum() for d in range(len(first)))
            maps[1, y, x] = sum(second[d, y, x] * first[d].sum() for d in range(len(first)))
    return maps
