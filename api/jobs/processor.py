"""Processes and jobs as pygeoapi knows them: descriptions by its own path, execution by our queue."""

from typing import Any

from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError
from pygeoapi.process.manager.base import BaseManager

from api.jobs.definitions import PROCESSES, Process

__all__ = ["JobProcessor", "QueueManager", "process_metadata"]


def process_metadata(process: Process) -> dict[str, Any]:
    """The description of a process in pygeoapi's form."""
    both = ("en", "zh")
    inputs = {}
    for name, schema in process.inputs.items():
        shown = {k: v for k, v in schema.items() if not k.startswith("x-") and k != "title"}
        inputs[name] = {"title": schema.get("title", name), "schema": shown, "minOccurs": int(bool(schema.get("x-required"))), "maxOccurs": 1}
    return {
        "version": "0.1.0", "id": process.id, "title": dict(zip(both, process.title, strict=True)),
        "description": dict(zip(both, process.description, strict=True)), "keywords": ["Baige"], "links": [],
        "jobControlOptions": ["sync-execute", "async-execute", "dismiss"], "outputTransmission": ["value", "reference"],
        "inputs": inputs,
        "outputs": {"result": {"title": {"en": "Result", "zh": "结果"}, "schema": {"type": "object", "contentMediaType": "application/json"}}},
    }  # fmt: skip


class JobProcessor(BaseProcessor):  # type: ignore[misc]
    """A process of ours."""

    def __init__(self, processor_def: dict[str, Any]) -> None:
        super().__init__(processor_def, process_metadata(PROCESSES[processor_def["process"]]))

    def execute(self, data: dict[str, Any], outputs: Any = None) -> tuple[str, Any]:
        """Not here: the server's own route puts the job into the queue."""
        raise ProcessorExecuteError("processes run as jobs of the queue")


class QueueManager(BaseManager):  # type: ignore[misc]
    """The queue, as far as descriptions need to know of it."""

    def __init__(self, manager_def: dict[str, Any]) -> None:
        super().__init__(manager_def)
        self.is_async = True
