import torch

from pairlens.core.similarity import cosine, self_cosine, unit


def random_vectors(count=7, dim=5):
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_self_cosine_has_the_value_and_gradient_of_the_plain_product():
    vectors = unit(random_vectors()).requires_grad_()
    weight = torch.randn(7, 7, dtype=torch.float64)  # not symmetric, so that G + Gᵀ differs from 2 G
    (fast,) = torch.autograd.grad((self_cosine(vectors) * weight).sum(), vectors)
    (plain,) = torch.autograd.grad(((vectors @ vectors.T) * weight).sum(), vectors)
    assert torch.equal(self_cosine(vectors), vectors @ vectors.T)
    assert torch.allclose(fast, plain, atol=1e-12)


def test_self_cosine_can_be_differentiated_twice():
    vectors = random_vectors().requires_grad_()
    assert torch.autograd.gradgradcheck(self_cosine, vectors)


def test_similarities_are_float32_under_autocast():
    vectors = unit(random_vectors().bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert self_cosine(vectors).dtype == torch.float32
        assert cosine(vectors, vectors).dtype == torch.float32


def test_zero_vector_has_similarity_zero_and_a_finite_gradient():
    vectors = torch.zeros(2, 3, requires_grad=True)
    similarity = self_cosine(unit(vectors))
    similarity.sum().backward()
    assert torch.equal(similarity, torch.zeros(2, 2))
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
