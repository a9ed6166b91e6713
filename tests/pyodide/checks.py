import langchain_workers_gemma
async def main():
    from worker import newAi
    import time
    from langchain_workers_gemma import ChatWorkersGemma
    ai = newAi()
    ai.order('[{"result": {"response": "Hi"}}]')
    llm = ChatWorkersGemma(binding=ai)
    print(await llm.ainvoke("Hello"))
    print(ai.calls)
