"""Modules import each other in one direction."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("ecluse")
    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imported) > 500
    order = list(TopologicalSorter(imported).static_order())  # raises CycleError, which names the circle
    assert set(order) == graph.modules
