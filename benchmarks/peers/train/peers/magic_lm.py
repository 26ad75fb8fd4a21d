"""GPT-2, states unlike each other."""

from peers import language


class Family(language.Family):
    """With the contrastive term."""

    is_contrastive = True
