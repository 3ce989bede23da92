"""Packaging lives in setup.cfg; this file lets tools that still look for a setup.py find it."""

from setuptools import setup

setup()
