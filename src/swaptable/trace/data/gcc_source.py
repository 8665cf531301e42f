# The C file whose compilation is in gcc.npz: functions over arrays and structures, one translation unit.
# Imports the standard library only; run by any Python 3.
# Used by `make traces`, which compiles what it prints.
"""Print a C file that gives an optimiser work: loops, switches, inlined calls and shared structures; seeded."""

import random

FUNCTIONS = 75
rng = random.Random(6)

print("#include <stdint.h>\n#include <string.h>\n")
print("struct node { struct node *next, *child; uint32_t key, weight; uint64_t sum[4]; };\n")


def expression(depth: int) -> str:
    """An expression over the names that every function has."""
    if depth == 0 or rng.random() < 0.2:
        element = f"v[i & {rng.choice([3, 7, 15])}]"
        return rng.choice(["a", "b", "n->key", "n->weight", element, str(rng.randrange(1, 99))])
    operator = rng.choice(["+", "-", "*", "^", "&", "|", ">> 3 ^", "<< 1 |"])
    return f"({expression(depth - 1)} {operator} {expression(depth - 1)})"


def statements(number: int) -> str:
    """A loop with branches, a switch, and calls of functions that came before."""
    called = [f"        a += f{rng.randrange(number)}(n, v, (int)(b & 7));" for _ in range(min(number, 2))]
    kinds = [rng.choice(["+=", "^=", "-="]) for _ in range(rng.randrange(3, 9))]
    cases = [f"        case {case}: a {kind} {expression(3)}; break;" for case, kind in enumerate(kinds)]
    lines = [
        f"    uint64_t a = {rng.randrange(1, 999)}, b = (uint64_t)top;",
        "    for (int i = 0; i < top; i++) {",
        f"        b = {expression(4)};",
        f"        switch ((a ^ b) & {len(cases) - 1}) {{",
        *cases,
        f"        default: v[i & 15] = {expression(3)};",
        "        }",
        f"        if (a > b && n->next) {{ n = n->next; n->sum[i & 3] += {expression(3)}; }}",
        f"        else n->weight = (uint32_t){expression(2)};",
        *called,
        "    }",
    ]
    return "\n".join(lines)


for number in range(FUNCTIONS):
    kind = "static inline" if number % 3 == 0 else "static" if number % 3 == 1 else ""
    print(f"{kind} uint64_t f{number}(struct node *n, uint64_t v[16], int top)\n{{")
    print(f"{statements(number)}\n    return a ^ b;\n}}\n")
