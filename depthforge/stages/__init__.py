"""What runs: conversion of shards, on Ray or in this process. The only package that imports ray."""
