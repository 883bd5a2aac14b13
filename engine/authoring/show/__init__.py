"""Journeys read back: plain English, Chinese, and flow diagrams for the terminal and as SVG."""
