"""``POST /corrections``: what ``semctl serve --keep-corrections`` keeps of conversations, for ``semctl ingest-labels``.

Without the option there is no such path, and nothing of a conversation is stored.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

from fastapi import FastAPI

from pipeline.labelling.page_corrections import KeptCorrection, Said, keep
from pipeline.serving.forms import KeepAnswer, KeepForm, StateForm
from pipeline.serving.service import Service
from schemas.errors import CorpusError, UsageError


def add_corrections(app: FastAPI, service: Service) -> None:
    """Let an app take corrections to keep in the workspace of a service."""

    @app.post("/corrections", response_model=KeepAnswer, tags=["labels"])
    async def corrections(form: KeepForm) -> KeepAnswer:
        """Keep a correction made by hand, with all that was said, as a label by the annotator `page`."""
        return await asyncio.to_thread(keep_correction, service, form)


def keep_correction(service: Service, form: KeepForm) -> KeepAnswer:
    """Keep a correction; on return it is on the disk.

    Raises:
        InputError: no such slot, value or image, a run that takes no corrections, or no room.
    """
    shop = service.shop
    ontology, corpus = shop.recommender.ontology, shop.recommender.corpus
    if ontology is None or not shop.recommender.takes_corrections:
        raise UsageError(f"the run '{service.run}' takes no corrections", fix="serve a run that believes in values")
    catalogue = corpus.image_files, corpus.image_products, corpus.product_rows
    for number, turn in enumerate(form.turns):
        if not all(any(name in images for images in catalogue) for name in turn.images):
            raise CorpusError(
                "images that are not the catalogue's are not kept, and neither are corrections after one",
                where=f"turns.{number}.images",
                fix="the correction holds here all the same; begin a new conversation",
            )
    conversation, (corrected,) = service.checked(StateForm(turns=form.turns, images={}, corrections=[form.correction]))
    slot = ontology.slot(corrected.slot)
    like, dislike, as_read = (
        tuple(ontology.link(slot, value).value for value in values)
        for values in (corrected.like, corrected.dislike, form.as_read)
    )
    key = form.key or uuid.uuid4().hex
    keep(
        service.workspace.page_corrections,
        KeptCorrection(
            semctl_correction=1,
            key=key,
            at=datetime.now(UTC),
            run=service.run,
            ontology_version=ontology.version,
            turns=tuple(
                Said("user" if one.speaker == "user" else "system", one.text, tuple(one.image_ids))
                for one in conversation.history
            ),
            slot=slot.name,
            like=like,
            dislike=dislike,
            left=as_read,
            undone=form.undone,
        ),
    )
    return KeepAnswer(key=key)
