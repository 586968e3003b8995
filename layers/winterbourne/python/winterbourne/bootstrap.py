"""Bootstrap: prepares sys.path and the environment as the stock bootstrap does, and imports the handler.

The managed runtime starts `/var/runtime/bootstrap.py`, which prepares all of this. The exec wrapper starts this
runtime in its place, so the runtime has to do the same. https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
"""

import contextlib
import gc
import importlib
import os
import site
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from winterbourne.errors import RuntimeFault

__all__ = ["check_versions", "load_handler", "prepare_environment"]

_IMPORT_THRESHOLD: Final = 1_000_000
"""How many objects are made before garbage is looked for while the handler is imported. Little of it is garbage: with
Python's own threshold a chat's start takes a twelfth longer.
"""


def prepare_environment(environ: MutableMapping[str, str], layer_dir: str) -> None:
    """Set up sys.path, `.pth` files, PYTHONPATH and AWS_EXECUTION_ENV as the stock bootstrap does.

    Args:
        environ: Lambda's environment variables.
        layer_dir: The `python` folder of the layers, such as `/opt/python`.
    """
    task_root = environ.get("LAMBDA_TASK_ROOT") or os.getcwd()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    layer_dirs = [] if "PYTHONPATH" in environ else [f"{layer_dir}/lib/python{version}/site-packages", layer_dir]
    # Python puts this folder on sys.path for the stock bootstrap, which is run from it.
    runtime_dirs = [environ["LAMBDA_RUNTIME_DIR"]] if "LAMBDA_RUNTIME_DIR" in environ else []
    sys.path[:0] = [task_root, *layer_dirs, *runtime_dirs]
    for folder in (task_root, *layer_dirs):
        site.addsitedir(folder)
    if runtime_dirs:
        environ.setdefault("PYTHONPATH", runtime_dirs[0])
    environ.setdefault("AWS_EXECUTION_ENV", f"AWS_Lambda_python{version}")


def check_versions(layer_dir: str) -> None:
    """Refuse layers that were not built together, by what `*.dist-info` folders they bring.

    One layer would hide part of the other, and which part depends on their order. Only the engine and its packages are
    looked at, which the metadata of the engine's layer names: other layers may be as untidy as they like.

    Args:
        layer_dir: The `python` folder of the layers; it need not exist.

    Raises:
        RuntimeFault: There are two versions of one distribution.
    """
    found: dict[str, list[str]] = {}
    for folder in sorted(os.listdir(layer_dir)) if os.path.isdir(layer_dir) else ():
        if folder.endswith(".dist-info"):
            name_and_version = folder.removesuffix(".dist-info").replace("-", " ")
            found.setdefault(name_and_version.split()[0].lower(), []).append(name_and_version)
    doubles = {name: versions for name, versions in found.items() if versions[1:]}
    for name in doubles.keys() & _engine_packages(layer_dir, found.get("winterbourne", [])) if doubles else ():
        message = f"the layers bring {' and '.join(doubles[name])}: build the layers anew"
        raise RuntimeFault("Runtime.MixedVersions", message)


def _engine_packages(layer_dir: str, engines: list[str]) -> set[str]:
    """The engine and what its layer brings, named as their folders are."""
    packages = {"winterbourne"}
    for engine in engines:
        path = f"{layer_dir}/{engine.replace(' ', '-')}.dist-info/METADATA"
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as metadata:
            lines = [line.split() for line in metadata if line.startswith("Requires-Dist:")]
            packages |= {words[1].lower().replace("-", "_") for words in lines}
    return packages


def load_handler(name: str) -> Callable[..., Any]:
    """Import a handler by its name, `folder/module.function` or `package.module.function`.

    Raises:
        RuntimeFault: The handler cannot be loaded; its type is Lambda's own name for the reason.
        BaseException: Anything else that the module itself raised.
    """
    path, dot, function = name.rpartition(".")
    if not all(path.replace("/", ".").split(".")):
        no_dot = "not enough values to unpack (expected 2, got 1)"  # as awslambdaric has it
        reason = "a part of the module's name is empty" if dot else no_dot
        raise RuntimeFault("Runtime.MalformedHandlerName", f"Bad handler '{name}': {reason}")
    if path.split(".")[0] in sys.builtin_module_names:
        raise RuntimeFault("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {path} as a handler module")
    module = _import_module(path)
    if not hasattr(module, function):
        raise RuntimeFault("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{path}'")
    handler: Callable[..., Any] = getattr(module, function)
    return handler


def _import_module(name: str) -> Any:
    usual = gc.get_threshold()
    gc.set_threshold(_IMPORT_THRESHOLD)
    try:
        return importlib.import_module(name.replace("/", "."))
    except ImportError as error:
        raise RuntimeFault("Runtime.ImportModuleError", f"Unable to import module '{name}': {error}") from error
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise RuntimeFault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{name}': {error}", trace) from error
    finally:
        gc.freeze()  # what there is now stays as long as the process
        if gc.get_threshold()[0] == _IMPORT_THRESHOLD:  # else the module has set its own
            gc.set_threshold(*usual)
