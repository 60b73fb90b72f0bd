"""Datasets that come with texts of their own (reports, figure captions, questions and answers): the same shards, no LLM."""
