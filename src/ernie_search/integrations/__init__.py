"""Search where people work: LangChain, LlamaIndex, Haystack, mteb.

Each file needs the package that it is named after, which an extra of the same name brings.
"""
