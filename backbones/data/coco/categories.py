"""Check the categories of COCO annotations: unique names, and none that is only a parent of the others."""

from collections import Counter
from typing import Any

from backbones.data.coco.findings import Findings

Category = dict[str, Any]


def root_category(contents: list[dict[str, Any]]) -> str | None:
    """Name of the category that Roboflow puts above the classes, if it exists and no annotation uses it.

    It has supercategory 'none', and its name, which a class may share, is the supercategory of others.
    """
    names = set()
    for content in contents:
        used = {str(annotation.get('category_id')) for annotation in content['annotations']}
        roots = [category for category in content['categories'] if is_root(category, content['categories'])]
        if any(str(category.get('id')) in used for category in roots):
            return None
        names |= {category['name'] for category in roots}
    return names.pop() if len(names) == 1 else None


def is_root(category: Category, categories: list[Category]) -> bool:
    """Whether a category is the parent of others and has no parent."""
    return (
        category.get('supercategory') == 'none'
        and isinstance(category.get('name'), str)
        and any(other is not category and other.get('supercategory') == category['name'] for other in categories)
    )


def drop_root(content: dict[str, Any], name: str, findings: Findings) -> None:
    """Remove the root category."""
    categories = content['categories']
    kept = [category for category in categories if category.get('name') != name or not is_root(category, categories)]
    findings.corrected(
        len(categories) - len(kept),
        f'{len(categories)} categories',
        f'is no class: {name!r} heads the others and has no annotation (Roboflow writes it)',
    )
    content['categories'] = kept


def check_names(categories: list[Category], findings: Findings) -> None:
    """Find categories without a name, or with the name of another."""
    names = [category.get('name') for category in categories]
    odd = [name for name in names if not isinstance(name, str) or not name.strip()]
    twice = [name for name, count in Counter(map(str, names)).items() if count > 1]
    if odd or twice:
        findings.faults.append(
            'every category needs a name of its own; '
            + (f'{odd[0]!r} is no name' if odd else f'{twice[0]!r} occurs twice')
        )
