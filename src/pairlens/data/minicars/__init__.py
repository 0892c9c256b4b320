"""Minicars: a drawn data set of car models; how its pictures are drawn, and the data set made of them."""
