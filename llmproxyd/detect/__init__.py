"""Texts -> findings of personal and secret data. Pure: no clock, no socket, nothing kept between two calls."""
