"""How lists of whole numbers are written on the command line."""

import tyro


def ranks_registry() -> tyro.constructors.ConstructorRegistry:
    """Return the rules of tyro and one more: a tuple of integers is written 1,2,4,8, as in the historical commands."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def ranks(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        if info.type != tuple[int, ...]:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="K,K,...",
            instance_from_str=lambda words: tuple(int(k) for k in words[0].split(",")),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda value: [",".join(map(str, value))],
        )

    return registry
