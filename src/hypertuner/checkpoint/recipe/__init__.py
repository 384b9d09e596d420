"""The recipe of a model: the source of its classes, recorded when it is saved and rebuilt when it is loaded."""
