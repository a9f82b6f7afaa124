"""The Label Studio screen on which people judge two lists of products, left and right, without knowing whose they are.

Nothing in it depends on the workspace: what differs from task to task is in the tasks, escaped (see
:mod:`annotate.judging.tasks`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from annotate.tasks.label_config import SCREEN_STYLE, seal

Choice = Literal["left", "right", "tie"]
"""What a judge answers: which list fits better."""

CHOICES: tuple[Choice, ...] = get_args(Choice)

BETTER, COMMENT = "better", "comment"
"""The controls of the screen."""

SOURCE = "to judge two rankings"
"""What the seal of its configuration says of it; labelling commands take only configurations made from an ontology."""

QUESTION = "Which list fits better what the shopper wants?"

RULES = (
    "Read the dialogue; the shopper's last message is marked. It may be longer than its box: scroll up in it.",
    "Below it are two lists, each in the order in which products would be shown: 1 is the best place. A click on a "
    "photo shows it whole; the pointer resting on a product shows all that the catalogue says of it.",
    "Judge each list as a whole, as the shopper would: how many of its products fit everything said so far (kind, "
    "colour, price, what was turned down), and whether those that fit stand first.",
    "Answer left, right or tie (keys 1, 2 and 3). A tie means that you would not care which one you are shown, be both "
    "good or both bad. Do not guess who made a list: the sides change from task to task.",
    "A comment is welcome where the choice was hard, and never needed.",
)
"""What a judge has to know, sentence by sentence."""

_STYLE = SCREEN_STYLE + Path(__file__).with_name("screen.css").read_text().partition("*/\n")[2]


def judging_config() -> str:
    """The sealed label configuration; the same bytes whatever is judged."""
    keys = (("left", "Left", "1"), ("right", "Right", "2"), ("tie", "Tie", "3"))
    choices = "".join(f'<Choice value="{shown}" alias="{alias}" hotkey="{key}"/>' for alias, shown, key in keys)
    return seal(
        f"""<View className="sem jud">
<Style>{_STYLE}</Style>
<View className="sem-past jud-said"><HyperText name="context" value="$context_html" inline="true" clickableLinks="true"/></View>
<View className="jud-lists">
<View className="jud-list"><HyperText name="left" value="$left_html" inline="true" clickableLinks="true"/></View>
<View className="jud-list"><HyperText name="right" value="$right_html" inline="true" clickableLinks="true"/></View>
</View>
<View className="jud-ask">
<View className="sem-l"><Markdown value="{QUESTION}"/></View>
<Choices name="{BETTER}" toName="context" choice="single-radio" showInline="true" required="true" requiredMessage="Choose left, right or tie (keys 1, 2, 3).">{choices}</Choices>
<TextArea name="{COMMENT}" toName="context" rows="1" maxSubmissions="5" editable="true" placeholder="a comment, then Enter (not needed)"/>
</View>
</View>""",  # noqa: E501
        SOURCE,
    )


def judging_instruction() -> str:
    """What judges read under Instructions, as HTML."""
    return "<h2>How to judge</h2><ul>" + "".join(f"<li>{rule}</li>" for rule in RULES) + "</ul>"
