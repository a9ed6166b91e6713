"""Tools on Gemma: conversion to the wire, the ways of calling, and reading calls out of text."""
