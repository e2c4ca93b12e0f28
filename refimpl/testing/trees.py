"""Trees of additions: which terms meet when, in brackets and in words.

A tree is a term's number, or the tuple of the trees that are added; more than two are one fused sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Tree = int | tuple["Tree", ...]
MOST = 200  # characters of a tree in brackets


def leaves_of(tree: Tree) -> list[int]:
    """Return the term numbers of a tree, left to right.

    >>> leaves_of(((0, 2), 1))
    [0, 2, 1]
    """
    found, left = [], [tree]
    while left:
        node = left.pop()
        if isinstance(node, int):
            found.append(node)
        else:
            left.extend(reversed(node))
    return found


def nested(tree: Tree) -> str:
    """Return a tree as sums in brackets, cut short.

    >>> nested((((0, 1), 2), (3, 4, 5))), nested(_chain(range(100)))
    ('((0 + 1) + 2) + (3 + 4 + 5)', '(((0 + 1) + 2) + 3) + ... + 99')
    """
    n = len(leaves_of(tree))
    if n > 8 and _same_tree(tree, _chain(range(n))):
        return f"(((0 + 1) + 2) + 3) + ... + {n - 1}"

    def text(node: Tree, budget: int) -> str:
        if isinstance(node, int):
            return str(node)
        if len(leaves_of(node)) > budget:
            return f"[{len(leaves_of(node))} terms: {', '.join(map(str, leaves_of(node)[:4]))}, ...]"
        return "(" + " + ".join(text(child, budget) for child in node) + ")"

    whole = text(tree, 40)
    if isinstance(tree, tuple) and whole.startswith("["):
        whole = "(" + " + ".join(text(child, 12) for child in tree) + ")"
    whole = whole[1:-1] if whole.startswith("(") else whole
    return whole if len(whole) <= MOST else whole[: MOST - 3] + "..."


def in_words(tree: Tree) -> str:
    """Return the order of a tree in words.

    >>> in_words(((0, 1), 2)), in_words(((0, 1), (2, 3))), in_words(((0, 1, 2), 3, 4, 5))
    ('one after the other', 'neighbours in pairs', 'groups of 3 terms, each fused with the accumulator')
    >>> in_words(((((0, 2), (1, 3)), 4), 5))
    '2 sums side by side, of every 2nd term, then these; then the last 2 one after the other'
    """
    return _words(*_sorted(tree))


def _words(tree: Tree, first: int, n: int) -> str:
    """Return the order of a sorted tree of the n terms from `first` on, if it is of those."""
    if isinstance(tree, int) or _same_tree(tree, _chain(range(first, first + n))):
        return "one after the other"
    groups = groups_of(tree, first)
    if groups is not None:
        count, joined = groups
        if count >= n:
            return f"all {n} terms in one fused sum"
        how = "each fused, then added to the accumulator" if joined else "each fused with the accumulator"
        return f"groups of {count} terms, {how}"
    if _same_tree(tree, _sorted(_chain(range(first + n - 1, first - 1, -1)))[0]):
        return "one after the other, the last term first"
    if _same_tree(tree, _neighbours(list(range(first, first + n)))):
        return "neighbours in pairs"
    lanes = _stride(tree)
    if lanes > 1 and n > lanes:
        parts = _parts(tree, lanes)
        if all(_same_tree(part, _chain(range(first + k, first + n, lanes))) for k, part in enumerate(parts)):
            ending = {1: "st", 2: "nd", 3: "rd"}.get(lanes % 10 * (lanes // 10 % 10 != 1), "th")
            return f"{lanes} sums side by side, of every {lanes}{ending} term, then these"
    chunk = _chunk(tree)
    if 1 < chunk < n and _same_tree(tree, _chunks(first, n, chunk)):
        return f"chunks of {chunk}, each one after the other, then their sums"
    parts = _equal_parts(tree)
    if len(parts) > 2:
        size = len(leaves_of(parts[0]))
        starts = range(first, first + n, size)
        words = {_words(*_sorted(part)) for part in parts}
        if len(words) == 1 and all(sorted(leaves_of(p))[0] == at for p, at in zip(parts, starts, strict=True)):
            return f"chunks of {size}, each {words.pop()}, then their sums"
    last = 0
    while len(tree) == 2 and tree[1] == first + n - 1 - last and isinstance(tree[0], tuple):
        tree, last = tree[0], last + 1
    if last:
        return f"{_words(tree, first, n - last)}; then the last {last} one after the other"
    if len(tree) == 2:
        half = len(leaves_of(tree[0]))
        if sorted(leaves_of(tree[0])) == list(range(first, first + half)):
            both = [_words(tree[0], first, half), _words(tree[1], first + half, n - half)]
            each = f"each {both[0]}" if both[0] == both[1] else f"the first {both[0]}; the second {both[1]}"
            return f"two halves, of {half} and {n - half} terms: {each}"
    return "another tree"


def _same_tree(x: Tree, y: Tree) -> bool:
    """Compare trees that may be too deep for Python's own comparison."""
    left = [(x, y)]
    while left:
        x, y = left.pop()
        if isinstance(x, int) or isinstance(y, int) or len(x) != len(y):
            if x != y:
                return False
        else:
            left.extend(zip(x, y, strict=True))
    return True


def _stride(tree: Tree) -> int:
    """Return how far apart the first term and the one that it meets first are."""
    while isinstance(tree, tuple) and isinstance(tree[0], tuple):
        tree = tree[0]
    return tree[1] - tree[0] if isinstance(tree, tuple) and isinstance(tree[1], int) else 0  # type: ignore[operator]


def _chunk(tree: Tree) -> int:
    """Return the number of terms of the first chain."""
    while isinstance(tree, tuple) and not isinstance(tree[1], int):
        tree = tree[0]
    return len(leaves_of(tree))


def _parts(tree: Tree, count: int) -> list[Tree]:
    """Return the nodes of a tree just deep enough that there are `count`, the largest split first."""
    parts = [(len(leaves_of(tree)), tree)]
    while len(parts) < count:
        at = max(range(len(parts)), key=lambda k: parts[k][0])
        node = parts[at][1]
        if isinstance(node, int):
            break
        parts[at : at + 1] = [(len(leaves_of(child)), child) for child in node]
    return sorted((part for _, part in parts), key=lambda part: min(leaves_of(part)))


def _equal_parts(tree: Tree) -> list[Tree]:
    """Return the parts of one size, the last one smaller or not, that a tree adds one after the other.

    >>> _equal_parts((((0, 1, 2), (3, 4, 5)), (6, 7, 8))), _equal_parts(((0, 1), 2))
    ([(0, 1, 2), (3, 4, 5), (6, 7, 8)], [((0, 1), 2)])
    """
    if isinstance(tree, int) or len(tree) != 2:
        return [tree]
    before, last = tree
    inner = before if isinstance(before, int) or len(before) != 2 else before[1]
    n, end = len(leaves_of(before)), len(leaves_of(last))
    size = next((s for s in (len(leaves_of(inner)), n) if s >= end and s > 2 and n % s == 0), 0)
    parts = [last]
    while isinstance(before, tuple) and len(leaves_of(before)) > size > 0:
        if len(before) != 2 or len(leaves_of(before[1])) != size:
            return [tree]
        parts.append(before[1])
        before = before[0]
    return [before, *reversed(parts)] if size else [tree]


def promoted_groups_of(tree: Tree) -> tuple[int, int | None] | None:
    """Return the number of terms of each fused group, and of how many the sums are added apart, None: of all.

    >>> promoted_groups_of((((0, 1, 2), 3, 4, 5), ((6, 7, 8), 9, 10, 11))), promoted_groups_of(((0, 1, 2), 3, 4, 5))
    ((3, 6), (3, None))
    """
    groups = groups_of(tree)
    if groups is not None:
        return groups[0], None
    parts = _equal_parts(tree)
    each = [groups_of(part, min(leaves_of(part))) for part in parts]
    size = len(leaves_of(parts[0]))
    if len(parts) < 2 or each[0] is None or size % each[0][0] or any(e is None or e[0] > each[0][0] for e in each):
        return None
    return each[0][0], size


def _chain(leaves) -> Tree:
    node: Any = None
    for leaf in leaves:
        node = leaf if node is None else (node, leaf)
    return node


def _neighbours(level: list[Tree]) -> Tree:
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [(x, y) for x, y in zip(level[::2], level[1::2], strict=False)] + odd
    return level[0]


def _chunks(first: int, n: int, chunk: int) -> Tree:
    return _chain([_chain(range(at, min(at + chunk, first + n))) for at in range(first, first + n, chunk)])


def _sorted(tree: Tree) -> tuple[Tree, int, int]:
    """Return a tree with the children of each node by their first terms, its first term, and how many it has."""
    stack: list[tuple[Tree, bool]] = [(tree, False)]
    done: list[tuple[Tree, int, int]] = []
    while stack:
        node, ready = stack.pop()
        if isinstance(node, int):
            done.append((node, node, 1))
        elif not ready:
            stack.append((node, True))
            stack.extend((child, False) for child in node)
        else:
            children = sorted(done[-len(node) :], key=lambda child: child[1])
            del done[-len(node) :]
            together = tuple(child[0] for child in children), children[0][1], sum(child[2] for child in children)
            done.append(together)
    return done[0]


def groups_of(tree: Tree, first: int = 0) -> tuple[int, bool] | None:
    """Return the number of terms of each fused group, and whether groups are added to the accumulator apart.

    >>> groups_of(((0, 1, 2), 3, 4, 5)), groups_of(((0, 1, 2), (3, 4, 5))), groups_of(((0, 1), 2))
    ((3, False), (3, True), None)
    """
    parts: list[list[int]] = []
    joined, node = False, tree
    while isinstance(node, tuple):
        if all(isinstance(child, int) for child in node):
            parts.append(list(node))  # type: ignore[arg-type]
            break
        before, *rest = node
        if len(node) == 2 and isinstance(rest[0], tuple) and len(rest[0]) > 2 and not _inner(rest[0]):
            joined = True
            parts.append(list(rest[0]))  # type: ignore[arg-type]
        elif all(isinstance(child, int) for child in rest):
            parts.append(list(rest))  # type: ignore[arg-type]
        else:
            return None
        node = before
    sizes = [len(part) for part in reversed(parts)]
    flat = [leaf for part in reversed(parts) for leaf in part]
    usual = (
        bool(sizes)
        and flat == list(range(first, first + len(flat)))
        and sizes[0] > 2
        and len(set(sizes[:-1])) <= 1
        and sizes[-1] <= sizes[0]
    )
    return (sizes[0], joined) if usual and (len(sizes) < 2 or sizes[1] <= sizes[0]) else None


def _inner(node: Tree) -> bool:
    return isinstance(node, tuple) and any(isinstance(child, tuple) for child in node)


def nodes(tree: Tree) -> Iterator[tuple]:
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, tuple):
            yield node
            left.extend(node)


def first_of(tree: Tree) -> int:
    while isinstance(tree, tuple):
        tree = tree[0]
    return tree
