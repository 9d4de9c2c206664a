"""DynamoDB's typed JSON (``{"N": "79.99"}``): which Spark type an attribute is, and how its value is read exactly."""

from __future__ import annotations

from pyspark.sql import types as T

from lakekit.columns import quoted
from lakekit.errors import ConfigError
from lakekit.sources import exact
from lakekit.sources.exact import literal

TAGS = ("S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS")
_TEXT = T.StringType()


def wire(target: T.DataType) -> T.StructType:
    """What an attribute of this type is parsed to: the tags that it may have by type, every other tag as raw text."""
    own: dict[str, T.DataType] = {"NULL": T.BooleanType()}
    if isinstance(target, T.StructType):
        own["M"] = T.StructType([T.StructField(f.name, wire(f.dataType)) for f in target.fields])
    elif isinstance(target, T.MapType):
        own["M"] = T.MapType(_TEXT, wire(target.valueType))
    elif isinstance(target, T.ArrayType):
        own |= {"L": T.ArrayType(wire(target.elementType)), **{tag: T.ArrayType(_TEXT) for tag in ("SS", "NS", "BS")}}
    return T.StructType([T.StructField(tag, own.get(tag, _TEXT)) for tag in TAGS])


def check(target: T.DataType, path: str) -> None:
    """Raise ``ConfigError`` for a declared type that no DynamoDB value is read as."""
    if isinstance(target, T.StructType):
        for field in target.fields:
            check(field.dataType, f"{path}.{field.name}")
    elif isinstance(target, T.ArrayType):
        check(target.elementType, f"{path}[]")
    elif isinstance(target, T.MapType) and isinstance(target.keyType, T.StringType):
        check(target.valueType, f"{path}[]")
    elif not isinstance(target, (T.StringType, T.NumericType, T.BooleanType, T.BinaryType, T.DateType, T.TimestampType)):
        raise ConfigError(f"schema declares {path} as {target.simpleString()}, which no DynamoDB value is read as. Declare another type.")


def decode(target: T.DataType, value: str) -> str:
    """SQL for the attribute's value; NULL for NULL, for a tag of another type, and where the value would lose something."""
    if isinstance(target, T.StringType):
        # A text column takes any attribute: numbers as written, documents and sets as their typed JSON.
        return f"coalesce({', '.join(f'{value}.{tag}' for tag in TAGS if tag != 'NULL')})"
    if isinstance(target, T.BooleanType):
        return f"CASE {value}.BOOL WHEN 'true' THEN true WHEN 'false' THEN false END"
    if isinstance(target, T.BinaryType):
        return exact.bytes_from_base64(f"{value}.B")
    if isinstance(target, T.DateType):
        return exact.date_from_text(f"{value}.S")
    if isinstance(target, T.TimestampType):
        return exact.timestamp_from_text(f"{value}.S")
    if isinstance(target, T.ArrayType):
        return _array(target.elementType, value)
    if isinstance(target, T.StructType):
        inner = ", ".join(f"{literal(f.name)}, {decode(f.dataType, f'{value}.M.{quoted(f.name)}')}" for f in target.fields)
        return f"IF({value}.M IS NULL, NULL, named_struct({inner}))"
    if isinstance(target, T.MapType):
        return f"transform_values({value}.M, (k, {exact.fresh(value)}) -> {decode(target.valueType, exact.fresh(value))})"
    return _number(target, f"{value}.N")


def _number(target: T.DataType, text: str) -> str:
    if isinstance(target, T.DecimalType):
        return exact.decimal_from_text(text, target)
    if isinstance(target, T.IntegralType):
        return f"try_cast({exact.decimal_from_text(text, T.DecimalType(38, 0))} AS {target.simpleString()})"
    return f"try_cast({text} AS {target.simpleString()})"  # double or float, declared: the nearest one


def _array(element: T.DataType, value: str) -> str:
    """A list in its order, or a set, sorted: a set has no order, so equal sets must come out equal."""
    one = exact.fresh(value)
    lists = f"transform({value}.L, {one} -> {decode(element, one)})"
    members = _member(element, one)
    if members is None:
        return lists
    tag, read = members
    return f"coalesce({lists}, array_sort(transform({value}.{tag}, {one} -> {read})))"


def _member(element: T.DataType, value: str) -> tuple[str, str] | None:
    """The tag of a set with such members, and how a member is read."""
    if isinstance(element, T.StringType):
        return "SS", value
    if isinstance(element, T.BinaryType):
        return "BS", exact.bytes_from_base64(value)
    return ("NS", _number(element, value)) if isinstance(element, T.NumericType) else None


def misread(target: T.DataType, value: str) -> str:
    """SQL that is true where the attribute, or something inside it, has a value that *target* cannot hold exactly."""
    own = f"({value} IS NOT NULL AND NOT coalesce({value}.NULL, false) AND {decode(target, value)} IS NULL)"
    return " OR ".join([own, *_inside(target, value)])


def _inside(target: T.DataType, value: str) -> list[str]:
    one = exact.fresh(value)
    if isinstance(target, T.StructType):
        return [f"coalesce({misread(f.dataType, f'{value}.M.{quoted(f.name)}')}, false)" for f in target.fields]
    if isinstance(target, T.MapType):
        return [f"coalesce(exists(map_values({value}.M), {one} -> {misread(target.valueType, one)}), false)"]
    if not isinstance(target, T.ArrayType):
        return []
    found = [f"coalesce(exists({value}.L, {one} -> {misread(target.elementType, one)}), false)"]
    members = _member(target.elementType, one)
    if members is not None:
        found.append(f"coalesce(exists({value}.{members[0]}, {one} -> {members[1]} IS NULL), false)")
    return found


# From what Spark's JSON inference saw ----------------------------------------------------------------------------------


def inferred(images: list[T.DataType], numbers: T.DecimalType) -> T.StructType:
    """The row's columns out of the inferred types of typed-JSON images: the union of their attributes, in name order.

    >>> image = T._parse_datatype_string("id struct<N: string>, tags struct<SS: array<string>>, m struct<M: struct<x: struct<S: string>>>")
    >>> inferred([image], T.DecimalType(38, 18)).simpleString()
    'struct<id:decimal(38,18),m:struct<x:string>,tags:array<string>>'
    """
    merged: T.DataType = T.StructType()
    for image in images:
        merged = _merge(merged, image)
    fields = merged.fields if isinstance(merged, T.StructType) else []
    return T.StructType([T.StructField(f.name, _attribute(f.dataType, numbers)) for f in sorted(fields, key=lambda f: f.name)])


def _merge(one: T.DataType, other: T.DataType) -> T.DataType:
    if isinstance(one, T.StructType) and isinstance(other, T.StructType):
        found = {f.name: f.dataType for f in one.fields}
        for f in other.fields:
            found[f.name] = _merge(found[f.name], f.dataType) if f.name in found else f.dataType
        return T.StructType([T.StructField(n, t) for n, t in found.items()])
    if isinstance(one, T.ArrayType) and isinstance(other, T.ArrayType):
        return T.ArrayType(_merge(one.elementType, other.elementType))
    return one if isinstance(one, (T.StructType, T.ArrayType)) else other


def _attribute(seen: T.DataType, numbers: T.DecimalType) -> T.DataType:
    """The Spark type of an attribute that was seen with these tags; text where they have no type in common."""
    tags = {f.name: f.dataType for f in seen.fields if f.name != "NULL"} if isinstance(seen, T.StructType) else {}
    flat: dict[str, T.DataType] = {"S": _TEXT, "N": numbers, "B": T.BinaryType(), "BOOL": T.BooleanType()}
    sets: dict[str, T.DataType] = {"SS": _TEXT, "NS": numbers, "BS": T.BinaryType()}
    if len(tags) != 1:
        return _TEXT
    ((tag, held),) = tags.items()
    if tag in sets:
        return T.ArrayType(sets[tag])
    if tag == "L" and isinstance(held, T.ArrayType):
        return T.ArrayType(_attribute(held.elementType, numbers))
    if tag == "M" and isinstance(held, T.StructType):
        return T.StructType([T.StructField(f.name, _attribute(f.dataType, numbers)) for f in held.fields])
    return flat.get(tag, _TEXT)


def alike(target: T.DataType) -> str | None:
    """A name that stands twice in one struct, at any depth, in different case: Spark would take the two for one.

    >>> alike(T._parse_datatype_string("a int, m struct<x: int, X: int>"))
    'x'
    """
    if isinstance(target, T.ArrayType):
        return alike(target.elementType)
    if not isinstance(target, T.StructType):
        return None
    lowered = [name.lower() for name in target.names]
    here = next((name for name in lowered if lowered.count(name) > 1), None)
    return here or next((found for f in target.fields if (found := alike(f.dataType))), None)
