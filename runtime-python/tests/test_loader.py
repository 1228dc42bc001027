"""Packs of every style, from a folder to node ids, schemas and results."""

from __future__ import annotations

import pytest

from packs import clean_imports, execute, load, methods, write_pack
from pyisolate.errors import PyisolateError


@pytest.fixture(autouse=True)
def _clean_imports():
    with clean_imports():
        yield


V1 = """
    class Double:
        FUNCTION = "run"
        RETURN_TYPES = ("INT",)
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"number": ("INT", {"default": 1})}}
        def __init__(self):
            self.count = 0
        def run(self, number):
            self.count += 1
            return (number * 2, self.count)
"""

AS_PROMISED = """
    from comfy_api.v3 import io, ComfyNodeV3
    from pyisolate import ExtensionBase

    class MyNode(ComfyNodeV3):
        @classmethod
        def DEFINE_SCHEMA(cls):
            return io.Schema(node_id="MyNode", inputs=[io.Int.Input("number")], outputs=[io.Int.Output()])
        @classmethod
        async def execute(cls, number):
            return io.NodeOutput(number * 2)

    class MyOtherNode(MyNode):
        pass

    class MyNodeExtension(ExtensionBase):
        def on_module_loaded(self, module):
            self.nodes = {"MyNode": MyNode, "MyOtherNode": MyOtherNode}
        async def execute_node(self, node_id: str, **inputs):
            node_class = self.nodes[node_id]
            return await node_class.execute(**inputs)
"""


def test_plain_v1_classes_with_relative_imports_and_one_instance_per_node_id(tmp_path):
    write_pack(
        tmp_path / "a folder-name.that is no identifier",
        {
            "__init__.py": """
                from .code.double import Double
                NODE_CLASS_MAPPINGS = {"Double": Double, "Other": Double}
                NODE_DISPLAY_NAME_MAPPINGS = {"Double": "Twice"}
            """,
            "code/__init__.py": "",
            "code/double.py": V1,
        },
    )
    worker = methods(tmp_path / "a folder-name.that is no identifier")
    loaded = worker.load({"share_torch": False})
    assert [(node["id"], node["display_name"]) for node in loaded["nodes"]] == [("Double", "Twice"), ("Other", "Other")]
    assert [execute(worker, id, {"number": 4})["outputs"] for id in ("Double", "Double", "Other")] == [
        [8, 1],
        [8, 2],
        [8, 1],
    ]


def test_an_extension_written_as_promised(tmp_path):
    worker = methods(write_pack(tmp_path, {"__init__.py": AS_PROMISED}))
    nodes = worker.load({})["nodes"]
    assert [node["id"] for node in nodes] == ["MyNode", "MyOtherNode"]
    assert nodes[1]["inputs"] == [{"name": "number", "type": "INT", "required": True, "options": {}}]
    assert execute(worker, "MyOtherNode", {"number": 21}) == {"outputs": [42], "ui": None}


@pytest.mark.parametrize("is_async", [False, True])
def test_every_hook_of_an_extension_sync_or_async(tmp_path, is_async):
    define = "async def" if is_async else "def"
    source = f"""
        from pyisolate import ExtensionBase
        calls = []
        class Custom(ExtensionBase):
            {define} before_module_loaded(self):
                calls.append("before")
            {define} on_module_loaded(self, module):
                calls.append(("loaded", module.__name__))
            {define} get_node_ids(self):
                return ["One"]
            {define} get_node_schema(self, node_id):
                return {{"outputs": [{{"type": "INT"}}], "inputs": [{{"name": "x", "type": "INT"}}], "category": "c"}}
            {define} execute_node(self, node_id, **inputs):
                return (node_id, inputs["x"])
            {define} stop(self):
                calls.append("stop")
    """
    worker = methods(write_pack(tmp_path, {"__init__.py": source}))
    (node,) = worker.load({})["nodes"]
    assert node == {
        "id": "One",
        "display_name": "One",
        "category": "c",
        "description": "",
        "inputs": [{"name": "x", "type": "INT", "required": True, "options": {}}],
        "outputs": [{"name": "INT", "type": "INT", "is_list": False}],
        "output_node": False,
    }
    assert execute(worker, "One", {"x": 5})["outputs"] == ["One", 5]
    worker.stop()
    import pyisolate_pack

    assert pyisolate_pack.calls == ["before", ("loaded", "pyisolate_pack"), "stop"]


def test_an_extension_file_of_its_own_is_told_before_the_pack_is_imported(tmp_path):
    order = "import sys\norder = sys.modules.setdefault('pyisolate_pack.order', [])\n"
    files = {
        "__init__.py": order + "order.append('module')\nfrom .extension import Early\nassert Early is not None\n",
        "extension.py": order
        + "from pyisolate import ExtensionBase\n"
        + "class Early(ExtensionBase):\n"
        + "    def before_module_loaded(self): order.append('before')\n"
        + "    def on_module_loaded(self, module): order.append('loaded'); self.order = order\n",
    }
    extension = load(write_pack(tmp_path, files))
    assert extension.order == ["before", "module", "loaded"]


def test_an_extension_file_that_imports_the_pack_gets_it(tmp_path):
    files = {
        "__init__.py": "VALUE = 5\n",
        "extension.py": """
            from pyisolate import ExtensionBase
            from . import VALUE
            class Early(ExtensionBase):
                value = VALUE
        """,
    }
    assert load(write_pack(tmp_path, files)).value == 5


def test_a_v3_entrypoint(tmp_path):
    source = """
        from comfy_api.latest import ComfyExtension, io
        class Node(io.ComfyNode):
            @classmethod
            def define_schema(cls):
                return io.Schema(node_id="Node", inputs=[], outputs=[io.String.Output()])
            @classmethod
            def execute(cls):
                return io.NodeOutput(Extension.state)
        class Extension(ComfyExtension):
            state = "new"
            async def on_load(self):
                Extension.state = "loaded"
            async def get_node_list(self):
                return [Node]
        async def comfy_entrypoint():
            return Extension()
    """
    worker = methods(write_pack(tmp_path, {"__init__.py": source}))
    assert [node["id"] for node in worker.load({})["nodes"]] == ["Node"]
    assert execute(worker, "Node", {})["outputs"] == ["loaded"]


@pytest.mark.parametrize("names", [["nodes.py"], ["nodes.py", "helper.py"], ["anything.py"]])
def test_a_pack_of_single_files(tmp_path, names):
    files = dict.fromkeys(names, "VALUE = 1\n")
    files[names[0]] = ("from .helper import VALUE\n" if len(names) > 1 else "") + "NODE_CLASS_MAPPINGS = {}\n"
    assert load(write_pack(tmp_path, files)).get_node_ids() == []


def test_a_folder_with_nothing_to_load_says_what_it_has(tmp_path):
    with pytest.raises(PyisolateError, match=r"a\.py, b\.py") as raised:
        load(write_pack(tmp_path, {"a.py": "", "b.py": ""}))
    assert raised.value.code == "PACK_LOAD_FAILED" and raised.value.next


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", "defines no nodes"),
        ("from pyisolate import ExtensionBase\nclass A(ExtensionBase): pass\nclass B(ExtensionBase): pass", "A, B"),
    ],
)
def test_a_module_without_nodes_or_with_two_extensions(tmp_path, source, text):
    with pytest.raises(PyisolateError, match=text) as raised:
        load(write_pack(tmp_path, {"__init__.py": source}))
    assert raised.value.code == "PACK_LOAD_FAILED"


@pytest.mark.parametrize(
    ("source", "type", "message"),
    [
        ("import package_nobody_has", "ModuleNotFoundError", "No module named 'package_nobody_has'"),
        ("def f():\n    raise ValueError('ä\\nb')\nf()", "ValueError", "ä\nb"),
        ("raise SystemExit(3)", "SystemExit", "3"),
        ("x = = 1", "SyntaxError", "invalid syntax"),
    ],
)
def test_an_import_that_raises_gives_the_packs_own_traceback(tmp_path, source, type, message):
    worker = methods(write_pack(tmp_path, {"__init__.py": source}))
    with pytest.raises(PyisolateError) as raised:
        worker.load({})
    error = raised.value
    assert (error.code, error.remote.type) == ("PACK_LOAD_FAILED", type)
    assert message in error.remote.message and error.remote.type in error.message
    assert "__init__.py" in error.remote.traceback
    assert "importlib" not in error.remote.traceback and "loader.py" not in error.remote.traceback


def test_a_node_that_raises_gives_its_type_text_and_traceback_without_our_frames(tmp_path):
    source = """
        class Fail:
            FUNCTION = "run"
            @classmethod
            def INPUT_TYPES(cls):
                return {}
            def run(self):
                raise ValueError("äöü")
        class FailLater(Fail):
            async def run(self):
                raise ValueError("äöü")
        class Leave(Fail):
            def run(self):
                raise SystemExit("äöü")
        NODE_CLASS_MAPPINGS = {"Fail": Fail, "FailLater": FailLater, "Leave": Leave}
    """
    worker = methods(write_pack(tmp_path, {"__init__.py": source}))
    worker.load({})
    for node_id in ("Fail", "FailLater", "Leave"):
        with pytest.raises(PyisolateError) as raised:
            execute(worker, node_id, {})
        remote = raised.value.remote
        assert raised.value.code == "NODE_FAILED"
        assert (remote.type, remote.message) == ("SystemExit" if node_id == "Leave" else "ValueError", "äöü")
        assert "raise " in remote.traceback and "pyisolate" not in remote.traceback.replace(str(tmp_path), "")


def test_an_unknown_node(tmp_path):
    worker = methods(write_pack(tmp_path, {"__init__.py": "NODE_CLASS_MAPPINGS = {}"}))
    worker.load({})
    with pytest.raises(PyisolateError, match="Nothing") as raised:
        execute(worker, "Nothing", {})
    assert raised.value.code == "NODE_UNKNOWN"


def test_load_reports_python_and_the_installed_packages(tmp_path):
    import platform

    import numpy

    loaded = methods(write_pack(tmp_path, {"__init__.py": "NODE_CLASS_MAPPINGS = {}"})).load({})
    assert loaded["python"] == platform.python_version()
    assert loaded["packages"]["numpy"] == numpy.__version__
