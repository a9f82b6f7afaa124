"""The models, a line each. Names are those of ``model.kind``, ``semctl train --model`` and ``model/config.json``."""

from __future__ import annotations

MODELS = {
    "semantic": "semantic_model.semantic.spec",
    "dual-encoder": "semantic_model.models.dual_encoder",
    "grounded": "semantic_model.grounded.spec",
    "mhred": "semantic_model.models.mhred",
    "umd": "semantic_model.models.umd",
    "magic": "semantic_model.models.magic",
    "larch": "semantic_model.models.larch",
    "treasure": "semantic_model.models.treasure",
    "enteract": "semantic_model.models.enteract",
    "clip": "semantic_model.models.clip",
}
"""Those that are trained: name -> the module with ``MODEL``, a :class:`semantic_model.ranking.model_spec.ModelSpec`."""

WITHOUT_PUBLIC_CODE = ("treasure", "enteract")
"""Those that are built after what was published of them alone, as ``reimplemented`` of their spec says, too."""

SETTINGS = {"semantic": "semantic_model.semantic.settings", "grounded": "semantic_model.grounded.settings"}
"""Where ``Settings`` of a model are, if not beside ``MODEL``: these are read without torch."""

BASELINES = {
    "random": "semantic_model.models.random_order:RandomOrder",
    "popularity": "semantic_model.models.popularity:Popularity",
    "tfidf": "semantic_model.models.tfidf:TfIdf",
    "bm25": "semantic_model.models.bm25:Bm25",
}
"""Those that are not: name -> the class whose ``fit(corpus)`` makes the ranker that every model is shown beside."""
