"""The sentences of the simulated dialogues, as templates."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "ADD",
    "AGENT",
    "ASK",
    "CHANGE",
    "DISLIKE",
    "DISLIKE_NTH",
    "DROP",
    "FILLERS",
    "LIKE_NTH",
    "NTH_BUT",
    "OPEN",
    "OPEN_NTH",
    "ORDINALS",
    "PLURALS",
    "QUESTIONS",
    "SHOPPER",
    "SLOT_WORDS",
    "SWITCH",
    "SYNONYMS",
    "UPLOAD",
    "UPLOAD_DISLIKE",
    "UPLOAD_OPEN",
]

SYNONYMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "type": {
        "trousers": ("pants", "slacks"),
        "sweater": ("jumper", "pullover"),
        "sneakers": ("trainers", "running shoes"),
        "handbag": ("bag", "purse"),
        "t-shirt": ("tee", "tshirt"),
        "dress": ("gown", "frock"),
        "heels": ("pumps", "high heels"),
        "coat": ("overcoat",),
        "shirt": ("button-down",),
    },
    "color": {
        "red": ("crimson", "scarlet"),
        "pink": ("rose", "blush"),
        "blue": ("azure", "cobalt"),
        "navy": ("dark blue", "midnight blue"),
        "green": ("emerald", "forest green"),
        "purple": ("violet", "plum"),
        "brown": ("chocolate", "chestnut"),
        "beige": ("sand", "camel"),
        "grey": ("gray", "ash"),
        "black": ("jet black", "ebony"),
        "white": ("ivory", "snow white"),
        "orange": ("tangerine", "apricot"),
        "yellow": ("lemon", "sunflower"),
    },
    "print": {
        "plain": ("solid", "unpatterned"),
        "striped": ("stripy", "pinstriped"),
        "checked": ("plaid", "tartan"),
        "dotted": ("polka dot", "spotted"),
        "floral": ("flowery", "flower-print"),
        "zigzag": ("chevron",),
    },
    "sleeves": {
        "sleeveless": ("without sleeves", "with bare arms"),
        "short": ("half",),
        "long": ("full",),
    },
    "style": {
        "formal": ("office", "business"),
        "casual": ("everyday", "relaxed"),
        "party": ("glamorous", "evening"),
        "sporty": ("athletic", "active"),
        "vintage": ("retro", "old-school"),
    },
    "length": {"maxi": ("ankle-length",), "mini": ("above-the-knee",), "knee-length": ("midi",), "cropped": ("ankle",)},
    "fit": {"loose": ("baggy", "oversized"), "slim": ("fitted", "tight"), "regular": ("standard",)},
    "material": {"wool": ("woollen",), "polyester": ("synthetic",), "leather": ("real leather",), "silk": ("silky",)},
}
"""Attribute -> value -> other words that users use for it."""

PLURALS: Mapping[str, str] = {
    "dress": "dresses",
    "tee": "tees",
    "gown": "gowns",
    "frock": "frocks",
}

SLOT_WORDS: Mapping[str, tuple[str, ...]] = {
    "color": ("colour", "color", "shade"),
    "print": ("pattern", "print"),
    "sleeves": ("sleeves", "sleeve length"),
    "neck": ("neck", "neckline"),
    "length": ("length",),
    "material": ("material", "fabric"),
    "style": ("style",),
    "fit": ("fit", "cut"),
    "brand": ("brand", "label"),
    "gender": ("gender",),
    "care": ("care", "washing"),
    "available_sizes": ("size",),
    "season": ("season",),
    "age": ("age group",),
}

OPEN = (
    "I'm looking for {thing}",
    "do you have {thing}?",
    "show me {thing} please",
    "I need {thing}",
    "could you help me find {thing}?",
    "I would like to see {thing}",
    "I want to buy {thing}",
    "can I see {thing}?",
    "got any {things}?",
    "what {things} do you have?",
)
SWITCH = (
    "now I also need {thing}",
    "great, next I'm after {thing}",
    "I think I have enough of those. Show me {thing}",
    "let's move on, do you sell {things}?",
    "that's settled. What about {thing}?",
    "besides that I am looking for {thing}",
    "and {thing} to go with it?",
    "forget those for now, I want {thing}",
)
OPEN_NTH = ("in the {s} of the {n} one", "in the same {s} as the {n} one", "in a {s} that matches the {n} picture")

ADD: Mapping[str, tuple[str, ...]] = {
    "color": (
        "in {v} please",
        "{v} would be nice",
        "I'd prefer {v}",
        "could I see them in {v}?",
        "do you have any in {v}?",
        "it should be {v}",
        "let me see {v} ones",
        "{v}, if you have it",
    ),
    "print": (
        "something {v} please",
        "I'd like a {v} one",
        "do these come {v}?",
        "only {v} ones please",
        "I was thinking of something {v}",
        "are there any {v} ones?",
    ),
    "sleeves": (
        "{v} please",
        "I'd rather have it {v}",
        "do you have any {v}?",
        "it must be {v}",
        "I'm thinking of something {v}",
    ),
    "neck": ("with a {v} please", "I like a {v} best", "do you have one with a {v}?", "a {v} would suit me"),
    "length": ("{v} please", "it should be {v}", "I'd like it {v}", "are there {v} ones?"),
    "material": ("made of {v} please", "I want {v}", "is there something in {v}?", "{v} would be best", "only {v}"),
    "style": (
        "something more {v}",
        "I need it to look {v}",
        "it is for {v} wear",
        "I'd like a {v} look",
        "do you have {v} ones?",
    ),
    "fit": ("with a {v} fit", "I want them {v}", "a {v} cut please", "they should be {v}"),
    "brand": ("do you have anything from {v}?", "I love {v}", "only {v} please", "show me the ones by {v}"),
    "gender": ("it is for {v}", "I mean for {v}", "for {v} please"),
    "care": ("it has to be {v}", "{v} only please", "something I can {v}"),
    "available_sizes": ("I need size {v}", "in size {v} please", "do they come in {v}?", "my size is {v}"),
    "season": ("something for {v}", "it is for {v}", "I need it for {v}"),
    "age": ("for {v} please", "it is for {v}"),
}
CHANGE: Mapping[str, tuple[str, ...]] = {
    "default": (
        "actually, make it {v}",
        "on second thought {v} would be better",
        "I changed my mind, {v} please",
        "could we try {v} instead?",
        "no, rather {v}",
    ),
    "available_sizes": ("sorry, I meant size {v}", "on second thought size {v}", "make that size {v}"),
    "brand": ("what does {v} have instead?", "rather something by {v}", "let's look at {v} instead"),
}
DISLIKE: Mapping[str, tuple[str, ...]] = {
    "default": (
        "not {v}",
        "nothing {v} please",
        "I don't like {v}",
        "anything but {v}",
        "no {v} ones please",
        "{v} is not for me",
        "but please not {v}",
        "I'm not a fan of {v}",
    ),
    "sleeves": ("not {v}", "nothing {v} please", "please don't show me any {v}", "I would not wear it {v}"),
    "style": ("not the {v} style", "nothing {v}-looking please", "I don't like the {v} look", "not so {v}", "less {v}"),
    "fit": ("no {v} fit please", "I don't like a {v} cut", "not a {v} fit"),
    "available_sizes": ("not size {v}",),
    "brand": ("nothing from {v} please", "I don't like {v}", "any brand but {v}", "no {v} for me"),
    "neck": ("no {v} please", "I don't like a {v}", "anything but a {v}"),
    "material": ("no {v} please", "I can't wear {v}", "nothing made of {v}", "anything but {v}", "not {v}"),
    "care": ("not {v}", "nothing that is {v}"),
    "season": ("nothing for {v}", "not for {v}", "I have enough for {v}"),
    "age": ("nothing for {v}", "not for {v}"),
}
DROP = (
    "the {s} doesn't matter any more",
    "forget about the {s}",
    "any {s} is fine",
    "I don't mind the {s}",
    "you can ignore the {s}",
    "the {s} isn't important after all",
    "let's not be picky about the {s}",
)
LIKE_NTH: Mapping[str, tuple[str, ...]] = {
    "color": (
        "I like the {s} of the {n} one",
        "show me more in the {s} of the {n} one",
        "in the same {s} as the {n} picture",
        "something in the {s} of the {n} one please",
    ),
    "print": (
        "the {s} of the {n} one is lovely, more like that",
        "I like the {s} of the {n} picture",
        "anything with the {s} of the {n} one?",
        "something with a {s} like the {n} one",
    ),
    "sleeves": (
        "something with sleeves like the {n} one",
        "I like the sleeves of the {n} picture",
        "with the same sleeves as the {n} one please",
        "more with sleeves as in the {n} image",
    ),
}
NTH_BUT = (
    "like the {n} picture but in {v}",
    "the {n} one is nice, do you have that in {v}?",
    "I'd like something like the {n} one, only in {v}",
    "can I get the look of the {n} image in {v}?",
)
DISLIKE_NTH: Mapping[str, tuple[str, ...]] = {
    "default": (
        "I don't like the {s} of the {n} one",
        "not the {s} of the {n} picture please",
        "anything but the {s} of the {n} one",
        "the {s} of the {n} one puts me off",
    ),
}
UPLOAD: Mapping[str, tuple[str, ...]] = {
    "color": (
        "something in this colour",
        "do you have it in this colour?",
        "here is a picture, I want this shade",
        "in the colour of the one in my picture please",
        "it should match this in colour",
    ),
    "print": (
        "with a pattern like this one",
        "I saw this print, do you have something like it?",
        "here is a photo, I want this pattern",
        "something with this print please",
    ),
    "sleeves": (
        "with sleeves like in this picture",
        "I want sleeves like these",
        "something with sleeves like this",
        "see my picture: such sleeves please",
    ),
}
UPLOAD_DISLIKE: Mapping[str, tuple[str, ...]] = {
    "color": (
        "anything but this colour",
        "just not this colour please",
        "I have this colour already, another one please",
    ),
    "print": ("no pattern like this please", "anything but this print", "I don't like such a pattern"),
    "sleeves": ("no sleeves like these please", "not with such sleeves"),
}
UPLOAD_OPEN: Mapping[str, tuple[str, ...]] = {
    "color": ("in this colour", "in the colour of this picture", "in this shade"),
    "print": ("with a pattern like this", "with this print"),
    "sleeves": ("with sleeves like this", "with sleeves like in this picture"),
}

FILLERS = (
    "hmm, ",
    "ok, ",
    "well, ",
    "nice, but ",
    "thanks! ",
    "good ones. ",
    "ah, ",
    "I see. ",
    "not bad, ",
    "great, ",
)
ORDINALS = (
    ("1st", "first"),
    ("2nd", "second"),
    ("3rd", "third"),
    ("4th", "fourth"),
    ("5th", "fifth"),
    ("6th", "sixth"),
)

SHOPPER: Mapping[str, tuple[str, ...]] = {
    "greeting": ("Hello", "Hi", "Hi there", "Good morning", "Hey", "Hello, can you help me?"),
    "info_women": ("I'm a woman", "I am shopping for my wife", "it's for my sister", "I'm buying for a lady friend"),
    "info_men": ("I'm a man", "I am shopping for my husband", "it's for my brother", "I'm buying for my dad"),
    "info": ("I'm shopping for {v}", "I'd like to see things for {v}"),
    "more": ("show me more like these", "do you have any others?", "what else have you got?", "can I see some more?"),
    "no_preference": ("no preference", "I don't mind", "whatever you have", "not really"),
    "buy": (
        "I'll take the {n} one",
        "I want to buy the {n} one",
        "the {n} one it is, thanks",
        "add the {n} one to my cart",
    ),
    "exit": ("That's all, thank you", "thanks, bye", "Thank you, that was helpful", "I think I'm done, thanks"),
}
ASK: Mapping[str, tuple[str, ...]] = {
    "brand": ("what brand is the {n} one?", "who makes the {n} one?"),
    "material": ("what is the {n} one made of?", "what material is the {n} one?"),
    "care": ("how do I wash the {n} one?", "how should I care for the {n} one?"),
    "available_sizes": ("which sizes does the {n} one come in?", "what sizes are there for the {n} picture?"),
    "style": ("what would I wear the {n} one to?", "what style is the {n} one?"),
    "season": ("which season is the {n} one for?",),
}
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "color": ("Which colour do you have in mind?", "Any favourite colour?"),
    "print": ("Plain, or with a pattern?", "Do you like a certain pattern?"),
    "sleeves": ("What about the sleeves?", "Which sleeves do you prefer?"),
    "material": ("Which material do you prefer?", "Any preference for the fabric?"),
    "style": ("What is the occasion?", "Which style are you after?"),
    "brand": ("Do you have a favourite brand?", "Any brand you like?"),
    "length": ("How long should it be?", "Which length do you like?"),
    "fit": ("Which fit do you like?", "Loose or slim?"),
    "available_sizes": ("Which size do you need?", "What is your size?"),
    "gender": ("Who is it for?",),
    "season": ("For which season?",),
}
AGENT: Mapping[str, tuple[str, ...]] = {
    "greeting": (
        "Hi, can I help you with something today?",
        "Hello! What can I do for you?",
        "Welcome, what are you looking for?",
    ),
    "info": (
        "Got it. What are you looking for?",
        "Sure, I can help with that. What shall it be?",
        "Alright, tell me more.",
    ),
    "show": (
        "Here are a few {things} for you.",
        "How about these?",
        "These might be what you want.",
        "I found these {things}, what do you think?",
        "Have a look at these.",
        "Let me know if one of these {things} is right.",
        "Of course, here is what I have.",
        "Sure, these are the best matches.",
    ),
    "remark": ("The {n} one is by {brand}.", "The {n} one is very popular.", "The {n} image shows our bestseller."),
    "answer": ("The {n} one: {v}.", "It is {v}.", "For the {n} one that is {v}.", "{v}."),
    "none": (
        "Sorry, I have nothing like that.",
        "I'm afraid we are out of those.",
        "Unfortunately there is no match for that. Could you relax something?",
    ),
    "buy": ("Great choice!", "Good pick, it is in your cart.", "Done. Anything else?"),
    "exit": ("You're welcome, see you soon.", "It was a pleasure. Bye!", "Thanks for shopping with us."),
}
