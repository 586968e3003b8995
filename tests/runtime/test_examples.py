"""The examples in the layer's folder and its README, run as a reader would run them."""

import re
import shutil
import textwrap
import urllib.request
from pathlib import Path

import pytest

from tests.artifact import sam
from tests.local_server import local_server
from tests.opt import WRAPPER
from tests.runtime.harness import LAYER, program, url_event
from tests.runtime.runtime_api import RuntimeApi

EXAMPLES = LAYER / "examples"
README = (LAYER / "README.md").read_text()


async def test_words() -> None:
    async with RuntimeApi() as api, program(api, EXAMPLES, "words.handler"):
        outcome = await api.invoke(url_event())
    assert outcome.payload == b"a winterbourne runs when there is water "
    assert len(outcome.chunks) >= 7


async def test_push() -> None:
    async with RuntimeApi() as api, program(api, EXAMPLES, "push.handler"):
        outcome = await api.invoke(url_event())
        assert outcome.payload == b"data: quick is done\n\ndata: slow is done\n\n"
        late = await api.invoke(url_event(), deadline_s=0.3)
    assert late.payload.endswith(b"event: timeout\ndata: sorry\n\nevent: error\ndata: DeadlineReached\n\n")


async def test_fastapi_app() -> None:
    async with RuntimeApi() as api, program(api, EXAMPLES, "fastapi_app.app"):
        outcome = await api.invoke(url_event(path="/numbers/3"))
    assert outcome.payload == b"0\n1\n2\n"
    assert outcome.streamed


@pytest.mark.parametrize("kind", ["on-demand", "snap-start"])
async def test_pool(kind: str) -> None:
    environ = {"AWS_LAMBDA_INITIALIZATION_TYPE": kind}
    async with RuntimeApi() as api, program(api, EXAMPLES, "pool.handler", **environ) as running:
        assert (await api.invoke()).json == 42
        assert await running.stop() == 0


@pytest.mark.parametrize("name", ["words", "fastapi_app"])
def test_the_readme_shows_the_example_as_it_is(name: str) -> None:
    code = (EXAMPLES / f"{name}.py").read_text().partition('"""\n\n')[2]
    assert code.rstrip() in README


def test_the_ten_line_handler_has_ten_lines() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 10


@pytest.mark.slow
def test_the_readmes_one_line_serves_it_on_this_machine(tmp_path: Path) -> None:
    line = re.search(r"winterbourne run --task-root examples (.*)", README)
    assert line is not None
    with (
        local_server(tmp_path, "--task-root", str(EXAMPLES), *line[1].split()) as server,
        urllib.request.urlopen(server.url, timeout=20) as answer,
    ):
        assert answer.status == 200
        assert answer.read() == b"a winterbourne runs when there is water "


@pytest.mark.slow
@pytest.mark.doors
def test_the_readmes_resources_are_a_template_that_sam_builds_from_the_folder_alone(tmp_path: Path) -> None:
    resources = "".join(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
    head = "Transform: AWS::Serverless-2016-10-31\nResources:\n"
    (tmp_path / "template.yaml").write_text(head + textwrap.indent(resources, "  "))
    shutil.copytree(LAYER, tmp_path / "layers/winterbourne", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(EXAMPLES, tmp_path / "functions/words")
    done = sam("build", "WinterbourneRuntimeLayer", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    opt = tmp_path / ".aws-sam/build/WinterbourneRuntimeLayer"
    assert {path.name for path in opt.iterdir()} == {"winterbourne", "python"}
    assert (opt / "python/h11").is_dir()
    assert not (opt / "python/winterbourne/chat").exists()


def test_every_setting_is_in_the_readme() -> None:
    code = "".join(path.read_text() for path in (LAYER / "python" / "winterbourne").glob("*.py"))
    code += WRAPPER.read_text()
    for name in set(re.findall(r"WINTERBOURNE_[A-Z_]+", code)):
        assert f"`{name}`" in README
