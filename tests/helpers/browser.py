"""Pages as a browser shows them."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

_OPTIONS = (
    "headless no-sandbox disable-gpu disable-dev-shm-usage allow-file-access-from-files "
    "enable-logging=stderr virtual-time-budget=5000 window-size=1400,1000 dump-dom "
    "disable-quic no-first-run disable-background-networking disable-sync "
    "disable-component-update"
)


def look(folder, wrapper, width):
    """What a wrapper tells of index.html in a folder: three columns where wide, one where narrow.

    The page says no word on the console, scrolls in one direction alone and has no broken image.

    Args:
        folder: Of the page.
        wrapper: A page about it, of a given width, that leaves JSON in its element pre.
        width: [pixel].
    """
    (folder / "wrapper.html").write_text(wrapper.format(width=width))
    command = [CHROMIUM, *(f"--{each}" for each in _OPTIONS.split())]
    command += [f"--user-data-dir={folder / 'profile'}", (folder / "wrapper.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert "CONSOLE" not in done.stderr
    found = json.loads(html.unescape(re.search("<pre>(.*)</pre>", done.stdout)[1]))
    assert found["scroll"] <= found["client"] <= width and found["broken"] == 0
    assert len(set(found["lefts"])) == (3 if width == 1280 else 1)
    return found


SKY_WRAPPER = """<body><iframe src="index.html" width="{width}" height="900"
style="border:0"></iframe><pre></pre><script>onload = () => {{
  const {{document: page}} = frames[0], root = page.documentElement;
  const box = each => each.getBoundingClientRect(), skies = [...page.querySelectorAll(".sky img")];
  const image = box(skies[0]), mark = box(page.querySelector("circle"));
  const titles = page.querySelectorAll("#sources th"), found = page.getElementById("shown");
  skies[1].dispatchEvent(new frames[0].MouseEvent("click", {{bubbles: true,
    clientX: mark.left - image.left + box(skies[1]).left + mark.width / 2,
    clientY: mark.top - image.top + box(skies[1]).top + mark.height / 2}}));
  const shown = found.innerText, crop = found.querySelector(".crop").getBoundingClientRect();
  const first = () => page.querySelector("#sources tbody td").innerText, orders = [first()];
  [0, 0, 5].forEach(i => {{ titles[i].click(); orders.push(first()); }});
  document.querySelector("pre").textContent = JSON.stringify({{shown, orders, crop: crop.width,
    scroll: root.scrollWidth, client: root.clientWidth, lefts: skies.map(each => box(each).left),
    broken: [...page.images].filter(each => !each.naturalWidth).length,
    x: (mark.left + mark.width / 2 - image.left) / image.width,
    y: (mark.top + mark.height / 2 - image.top) / image.height}});
}};</script></body>"""
