"""An answer that grew on the page looks the same after a reload."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.chat_page import Chat, ask, chatting, open_page, wait_for
from tests.http.provider import FINISH, delta

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(60),
    pytest.mark.usefixtures("built_chat"),
]

# While this text grows, the beginning of a block often looks like another kind of block.
TRICKY = """A title
---

Words
#not a title

- one

- two

-three

1. a

   b
2) c

| a | b |
|---|---|
| 1 | 2 |
after

```js
let x = "

# no title";
```

> quoted
lazily

[known] and [unknown]

    code

    more

[known]: https://example.com/
"""


async def rendered(page: Page) -> str:
    await page.get_by_role("link", name="known").wait_for()
    await page.locator(".answer .hljs-keyword").first.wait_for()
    return await page.locator(".answer .text").inner_html()


async def test_grown_equals_reloaded(context: BrowserContext, chat: Chat) -> None:
    """G2: while an answer grows, the page cuts only the end of the answer into blocks again.

    The blocks must be the same as after a reload.
    """
    pieces = [TRICKY[at : at + 2] for at in range(0, len(TRICKY), 2)]
    async with chatting(chat, *map(delta, pieces), FINISH) as provider:
        provider.pace_s = 0.02
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "Be tricky.")
        await wait_for(page, "done")
        grown = await rendered(page)
        await page.reload()
        await wait_for(page, "done")
        assert await rendered(page) == grown
