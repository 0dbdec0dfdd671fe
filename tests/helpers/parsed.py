"""Pages as the elements that they hold."""

from html.parser import HTMLParser

VOID = {"img", "input", "link", "meta", "br"}


class Parsed(HTMLParser):
    """Elements in the order of their start tags: tag, attributes, all text within.

    What is `plain` of the text is not the number of a <data>.
    """

    def __init__(self, source):
        super().__init__()
        self.elements, self.open, self.source = [], [], source
        self.feed(source)
        assert not self.open, "elements left open"

    def handle_starttag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", "plain": "", **dict(attrs)})
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        within = any(element["tag"] == "data" for element in self.open)
        for element in self.open:
            element["text"] += data
            element["plain"] += "" if within else data

    def all(self, tag):
        return [each for each in self.elements if each["tag"] == tag]
