"""Plain loops of known wrong circle losses, written from their descriptions, which an audit must recognise."""

import torch


def similarities(embeddings):
    x = embeddings / embeddings.norm(dim=1, keepdim=True)
    return x @ x.T


def split(labels, a):
    others = [j for j in range(len(labels)) if j != a]
    return [j for j in others if labels[j] == labels[a]], [j for j in others if labels[j] != labels[a]]


def softplus_of(terms_n, terms_p):
    return torch.nn.functional.softplus(torch.stack(terms_n).logsumexp(0) + torch.stack(terms_p).logsumexp(0))


def term_p(s, m, g, detached=True):
    alpha = torch.clamp(1 + m - (s.detach() if detached else s), min=0)
    return -g * alpha * (s - (1 - m))


def term_n(s, m, g, detached=True):
    alpha = torch.clamp((s.detach() if detached else s) + m, min=0)
    return g * alpha * (s - m)


def attached(embeddings, labels, m=0.4, g=80.0):
    s, losses = similarities(embeddings), []
    for a in range(len(labels)):
        p, n = split(labels, a)
        losses.append(softplus_of([term_n(s[a, j], m, g, False) for j in n], [term_p(s[a, j], m, g, False) for j in p]))
    return torch.stack(losses).mean()


def two_logarithms(embeddings, labels, m=0.4, g=80.0, detached=True):
    s, losses = similarities(embeddings), []
    for a in range(len(labels)):
        p, n = split(labels, a)
        parts = [[term_p(s[a, j], m, g, detached) for j in p], [term_n(s[a, j], m, g, detached) for j in n]]
        losses.append(sum(torch.nn.functional.softplus(torch.stack(part).logsumexp(0)) for part in parts))
    return torch.stack(losses).mean()


def pooled(embeddings, labels, m=0.4, g=80.0):
    s, p, n = similarities(embeddings), [], []
    for a in range(len(labels)):
        for j in range(a + 1, len(labels)):
            if labels[a] == labels[j]:
                p.append(term_p(s[a, j], m, g))
            else:
                n.append(term_n(s[a, j], m, g))
    return softplus_of(n, p)


def sign_error(embeddings, labels, m=0.4, g=80.0):
    s, p, n = similarities(embeddings), [], []
    for a in range(len(labels)):
        for j in range(a + 1, len(labels)):
            constant = s[a, j].detach()
            if labels[a] == labels[j]:
                p.append(-g * torch.clamp(1 + m + constant, min=0) * (s[a, j] - (1 - m)))
            else:
                n.append(g * torch.clamp(-m + constant, min=0) * (s[a, j] - m))
    return softplus_of(n, p)


def distances(embeddings, labels, m=0.4, g=80.0):
    """Return the circle loss of the original project.

    It takes distances for similarities, zeros for masked positives, and adds the row maximum to masked negatives.
    """
    x = embeddings / embeddings.norm(dim=1, keepdim=True)
    count = len(labels)
    d = [[(x[i] - x[j]).norm() if i != j else x.new_zeros(()) for j in range(count)] for i in range(count)]
    farthest = [torch.stack(row).max() for row in d]
    losses = []
    for j in range(count):
        p, n = [], []
        for i in range(count):
            same = labels[i] == labels[j]
            p.append(term_p(d[i][j] if same and i != j else 0 * d[i][j], m, g, False))
            n.append(term_n(d[i][j] if not same else d[i][j] + farthest[i], m, g, False))
        losses.append(softplus_of(n, p))
    return torch.stack(losses).mean()
