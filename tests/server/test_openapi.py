from __future__ import annotations

from scripts.openapi import TARGET, document, text


def test_the_document_that_the_pages_types_are_made_of_is_what_the_server_says() -> None:
    assert TARGET.read_text(encoding="utf-8") == text(), "run: make openapi"


def test_a_message_of_the_websocket_is_in_the_document_with_all_that_it_always_has() -> None:
    schemas = document()["components"]["schemas"]
    assert "nonfinite" in schemas["Points"]["required"]
    assert "required" not in schemas["Subscribe"]
