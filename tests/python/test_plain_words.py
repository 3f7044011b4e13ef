"""Mistakes in settings, variables and options are explained in plain words, without names of Rust types."""

import os
import re
import subprocess

import pytest

WORDS = re.compile(
    r"usize|u64|i64|f64|struct |variant|ident|EOF|invalid (type|value:|digit|socket)|a sequence|a map|wanted"
)


@pytest.mark.parametrize(
    "text, part",
    [
        ('[limits]\nbatch = "x"', 'expected a whole number from 0, found the text "x"'),
        ("[limits]\nbatch = -1", "expected a whole number from 0, found -1"),
        ("limits = 5", "expected an object or table of named fields, found 5"),
        ("[limits", "unclosed table"),
        ("[log]\nformat = 'yaml'", "unknown value `yaml`, expected `text` or `json`"),
        ("[server]\nhttp = 'x'", "expected an address such as"),
        ("[cors]\norigins = 'x'", 'expected a list, found the text "x"'),
        ("[models.policy.churn]\nversions = 5", "expected the name of a choice in quotes, or a table"),
        ("[models.policy.churn]\ncanary = 5", "expected a version and its share"),
        ("[auth]\nfile = true", "expected a path, found true"),
    ],
)
def test_a_setting_of_the_wrong_type_is_explained_in_plain_words(evergreen, tmp_path, text, part):
    config = tmp_path / "e.toml"
    config.write_text(text)
    ended = subprocess.run(
        [evergreen, "serve", "--config", str(config)], capture_output=True, text=True, timeout=30
    )
    message = ended.stderr
    assert (
        ended.returncode == 2 and part in message and not WORDS.search(message.replace(str(tmp_path), ""))
    ), message


@pytest.mark.parametrize(
    "words, part",
    [
        (["publish", "a", "b", "--version", "x"], "expected a whole number from 0, such as 3"),
        (["rollback", "churn", "--version", "x"], "expected a whole number from 0, such as 3"),
        (["serve", "--ops", "localhost"], "expected an address such as 127.0.0.1:8080"),
        (["check", "--kernel", "fast", "x"], "expected scalar, direct, binned or bit-sliced"),
    ],
)
def test_an_option_of_the_wrong_type_is_explained_in_plain_words(evergreen, words, part):
    ended = subprocess.run([evergreen, *words], capture_output=True, text=True, timeout=30)
    message = ended.stderr
    assert ended.returncode == 2 and part in message and not re.search(r"invalid (digit|socket)", message), (
        message
    )


@pytest.mark.parametrize(
    "name, text, part",
    [
        ("EVERGREEN_LIMITS__BATCH", "-1", "expected a whole number from 0, found -1"),
        ("EVERGREEN_LIMITS__BATCH", "x", "expected a whole number"),
        ("EVERGREEN_LOG__FORMAT", "yaml", "unknown value `yaml`"),
        ("EVERGREEN_CORS__ORIGINS", "[1]", "expected a text, found 1"),
        ("EVERGREEN_SERVER__HTTP", "x", "expected an address such as"),
    ],
)
def test_a_variable_of_the_wrong_type_is_explained_in_plain_words(evergreen, name, text, part):
    environment = os.environ | {name: text}
    ended = subprocess.run([evergreen, "serve"], capture_output=True, text=True, env=environment, timeout=30)
    message = ended.stderr
    assert ended.returncode == 2 and f"{name}: {part}" in message and not WORDS.search(message), message
