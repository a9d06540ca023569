"""Sentence encoders: a text's one vector, read from and written to folders of sentence-transformers.

In: an encoder's folder, with what pools, projects and normalises its token states. Out: a model of the encoder's own
class whose output holds the vector as `logits`; a folder that `SentenceTransformer` and `AutoModel` load; vectors.
May import `architectures`, `layers` and `records`.
"""
