"""Follow the references within a schema, and inline all that are not recursive."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from langchain_workers_gemma.schemas.keywords import JSONSchema, split_annotations
from langchain_workers_gemma.schemas.traversal import MAX_DEPTH, copy_plain, list_children, map_schemas

_MAX_INLINED = 20_000  # keywords after inlining; they double with each level of diamond-shaped references
_DEFINITIONS = frozenset({"$defs", "definitions"})


def inline_refs(schema: Mapping[str, Any]) -> JSONSchema:
    """Replace each reference in a schema with its target.

    Recursive definitions cannot be inlined: references to them stay, and `$defs` at the root keeps only those
    definitions. If the schema would become too large, all references stay.

    Args:
        schema: A JSON Schema whose `$ref`s point into itself.

    Returns:
        A schema whose only references point to recursive definitions under its `$defs`. Its root is not a reference.

    Raises:
        ValueError: If a reference points out of the schema, has no target or points only to itself, or if the schema is
            not JSON or too deep.

    Examples:
        >>> inline_refs({"properties": {"a": {"$ref": "#/$defs/A", "title": "T"}}, "$defs": {"A": {"type": "null"}}})
        {'properties': {'a': {'type': 'null', 'title': 'T'}}}
    """
    root = copy_plain(schema)
    kept = _find_kept(root)
    names: dict[str, str] = {}
    for ref in kept:
        title = root.get("title") if ref == "#" else ref.rpartition("/")[2]
        wanted = re.sub(r"[^\w.-]+", "_", unquote(str(title or "Root")), flags=re.ASCII) or "Definition"
        names[ref] = make_unique_name(wanted, set(names.values()))

    def expand(node: Any, *, at_root: bool = False) -> Any:
        if not isinstance(node, dict):
            return node
        ref = node.get("$ref")
        rest = {key: value for key, value in node.items() if key not in _DEFINITIONS and key != "$ref"}
        rest = map_schemas(rest, expand)
        if ref is None:
            return rest
        if ref in names and not at_root:
            return {"$ref": f"#/$defs/{names[ref]}", **rest}
        return _merge_siblings(expand(find_target(root, ref), at_root=at_root), rest)

    found = expand(root, at_root=True)
    if not isinstance(found, dict):
        msg = f"The schema as a whole is {json.dumps(found)}: describe an object."
        raise ValueError(msg)
    return add_definitions(found, {name: expand(find_target(root, ref)) for ref, name in names.items()})


def _find_kept(root: JSONSchema) -> list[str]:
    """Return the references that must stay: the recursive ones, or all if the schema would become too large."""
    refs_in: dict[str, list[tuple[int, int, str]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    waiting = [""]
    while waiting:  # visit the target of every reference once; "" is the root
        ref = waiting.pop()
        if ref not in refs_in:
            target = root if not ref else find_target(root, ref)
            places = list(_survey(target))
            sizes[ref] = (sum(size for _, size, _ in places), max((depth for depth, _, _ in places), default=0))
            refs_in[ref] = [(depth, size, to) for depth, size, to in places if to is not None]
            waiting.extend(to for _, _, to in refs_in[ref])
    for ref in refs_in:
        _check_alias(root, ref)
    leads_to = {ref: {to for _, _, to in places} for ref, places in refs_in.items()}
    leaves_first, rest = sort_topologically(leads_to)
    back = {ref: {one for one in rest if ref in leads_to[one]} for ref in rest}
    heads_first, recursive = sort_topologically(back)
    for ref in [*leaves_first, *reversed(heads_first)]:
        size, deepest = sizes[ref]
        inlined = [(depth, *sizes[to]) for depth, _, to in refs_in[ref] if to not in recursive]
        sizes[ref] = (size + sum(one for _, one, _ in inlined), max([deepest, *(d + more for d, _, more in inlined)]))
    largest = (max(size for size, _ in sizes.values()), max(depth for _, depth in sizes.values()))
    everything = largest[0] > _MAX_INLINED or largest[1] > MAX_DEPTH
    return [ref for ref in refs_in if ref and (everything or ref in recursive)]


def sort_topologically(graph: dict[str, set[str]]) -> tuple[list[str], list[str]]:
    """Repeatedly remove the nodes without outgoing edges; return them in that order, and the nodes that are left."""
    left = {node: len(to) for node, to in graph.items()}
    users: dict[str, list[str]] = {}
    for node, to in graph.items():
        for one in to:
            users.setdefault(one, []).append(node)
    ready, order = [node for node, count in left.items() if not count], []
    while ready:
        order.append(node := ready.pop())
        for user in users.get(node, []):
            left[user] -= 1
            if not left[user]:
                ready.append(user)
    return order, [node for node, count in left.items() if count]


def _survey(schema: Any, depth: int = 0) -> Iterator[tuple[int, int, str | None]]:
    """Yield depth, size and reference of a schema and of every schema in it, except its definitions."""
    if isinstance(schema, dict):
        ref, enum = schema.get("$ref"), schema.get("enum")
        if ref is not None and not isinstance(ref, str):
            msg = f"$ref must be a string, not {ref!r}."
            raise ValueError(msg)
        yield depth, len(schema) + (len(enum) if isinstance(enum, list) else 0), ref
        for child in list_children({key: value for key, value in schema.items() if key not in _DEFINITIONS}):
            yield from _survey(child, depth + 1)


def find_target(root: JSONSchema, ref: Any) -> Any:
    """Return the target of a `$ref`, which is a JSON Pointer.

    Raises:
        ValueError: If the reference points out of the schema, or has no target.
    """
    if not isinstance(ref, str) or not ref.startswith("#"):
        msg = f"$ref {ref!r} points out of the schema: put its target under `$defs` and use '#/$defs/NAME'."
        raise ValueError(msg)
    node: Any = root
    head, *parts = unquote(ref).split("/")
    for part in parts if head == "#" else ["?"]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        else:
            node = None
            break
    if not isinstance(node, dict | bool):
        msg = f"$ref {ref!r} has no target: the schema does not define that name. Define it under `$defs`."
        raise ValueError(msg)
    return node


def _check_alias(root: JSONSchema, ref: str) -> None:
    seen = {ref}
    target = find_target(root, ref or "#")
    while isinstance(target, dict) and "$ref" in target:
        if (ref := target["$ref"]) in seen:
            msg = f"$ref {ref!r} points only to itself: let it point to a definition."
            raise ValueError(msg)
        seen.add(ref)
        target = find_target(root, ref)


def _merge_siblings(target: Any, siblings: JSONSchema) -> Any:
    """Merge the target of a `$ref` with the keywords next to the reference."""
    if not siblings or target is False:
        return target
    notes, rules = split_annotations(siblings)
    if rules:
        return {"allOf": [target, rules], **notes}
    return {**({} if target is True else target), **notes}


def add_definitions(root: JSONSchema, definitions: Mapping[str, Any]) -> JSONSchema:
    """Add to a schema the definitions to which it refers."""
    needed: dict[str, Any] = {}
    waiting: list[Any] = [root]
    while waiting:
        for _, _, ref in _survey(waiting.pop()):
            name = ref.rpartition("/")[2] if ref else None
            if name is not None and name not in needed:
                needed[name] = definitions[name]
                waiting.append(definitions[name])
    return {**root, "$defs": {name: definitions[name] for name in definitions if name in needed}} if needed else root


def make_unique_name(wanted: str, taken: set[str]) -> str:
    """Return the wanted name, with a number at its end if it is taken."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name
