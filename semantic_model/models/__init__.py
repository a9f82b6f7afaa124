"""What a trained model has to beat, one file a system. All implement :class:`semantic_model.ranking.ranker.Ranker`."""
